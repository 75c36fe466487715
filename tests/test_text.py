"""Words and numbers: cleaned, cut, and drawn with what the terminal has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wizard.text import (
    GIB,
    charset,
    count,
    drawable,
    gib,
    params,
    plural,
    printable,
    short_count,
    span,
    time_span,
)


@given(st.text(max_size=2000), st.integers(min_value=1, max_value=500))
def test_printable_text_never_steers_a_terminal(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable() or not shown
    assert not any(character in shown for character in "\x1b\x07\x9b\u202e\u2066\ufeff\n\r\t\u2028")


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b]0;title\x07name", "]0;titlename"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("abc\u202edef", "abcdef"),
        ("e\u0301\u0301\u0301\u0301", "e\u0301\u0301"),
        ("\u3000wide space", " wide space"),
        ("[bold]markup[/bold]", "[bold]markup[/bold]"),
    ],
)
def test_hostile_text(hostile: str, shown: str) -> None:
    assert printable(hostile) == shown


@given(st.text(max_size=300))
def test_ascii_terminals_get_ascii_of_the_same_length(text: str) -> None:
    clean = printable(text)
    assert drawable(clean, "ascii").isascii()
    assert len(drawable(clean, "ascii")) == len(clean)
    assert drawable(clean, "unicode") == clean


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "en_US.UTF-8"}, "unicode"),
        ({"LANG": "de_DE.utf8", "TERM": "xterm"}, "unicode"),
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, "ascii"),
        ({"LC_CTYPE": "POSIX"}, "ascii"),
        ({"LANG": "en_US.ISO-8859-1"}, "ascii"),
        ({"LANG": "C"}, "ascii"),
        ({}, "unicode"),
        ({"LANG": "C.UTF-8", "TERM": "linux"}, "console"),
    ],
)
def test_the_locale_says_what_can_be_drawn(environment: dict[str, str], expected: str) -> None:
    assert charset(environment) == expected


def test_numbers_read_well() -> None:
    assert gib(33 * GIB) == "33.0"
    assert gib(-0.01 * GIB) == "0.0"
    assert gib(-5.14 * GIB) == "-5.1"
    assert count(244304) == "244,304"
    assert span(213.4, 388.8) == "210–390"
    assert span(4.49, 7.04) == "4.5–7.0"
    assert params(30.5e9) == "30.5B"
    assert params(235.1e9) == "235B"
    assert params(1.04e12) == "1.04T"
    assert plural(1, "file") == "1 file"
    assert plural(3, "file") == "3 files"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (512, "512"),
        (8200, "8.2k"),
        (244304, "244k"),
        (1048576, "1.05M"),
        (999999, "1M"),
        (99_960, "100k"),
    ],
)
def test_short_counts(value: float, shown: str) -> None:
    assert short_count(value) == shown


@given(st.floats(min_value=0, max_value=9e11))
def test_short_counts_stay_short(value: float) -> None:
    assert len(short_count(value)) <= 5


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (210, 390, ("210–390", "ms")),
        (900, 9_999, ("900–10,000", "ms")),
        (9_200, 41_000, ("9.2–41", "s")),
        (550_000, 4_100_000, ("9.2–68", "min")),
    ],
)
def test_long_times_are_told_in_larger_units(low: float, high: float, words: tuple[str, str]) -> None:
    assert time_span(low, high) == words
