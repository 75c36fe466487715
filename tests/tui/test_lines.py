"""Text wrapped into few cells."""

from __future__ import annotations

import pytest

from wizard.tui.lines import wrap


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            "see /srv/models/llama-3.1-8b/config.json now",
            ["see", "/srv/models/llama-", "3.1-8b/config.json", "now"],
        ),
        ("a b c", ["a b c"]),
        ("x" * 25, ["x" * 18, "x" * 7]),
    ],
)
def test_a_long_word_breaks_behind_a_separator(text: str, rows: list[str]) -> None:
    assert wrap(text, 18, 9) == rows
