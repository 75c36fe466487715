"""Search as you type against a hub: a gate in words, a quantised form one key away, the hub gone mid-search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.hub.repository import CONFIG, model
from tests.hub.server import FakeHub
from tests.journeys.conftest import Start

pytestmark = pytest.mark.journey

WIDE: dict[str, Any] = {
    **CONFIG,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
}
"""56 billion parameters: far too many for one L40S in bfloat16, few enough in four bits."""
AWQ = {
    **WIDE,
    "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    tag = "base_model:quantized:acme/zebra-56b"
    with FakeHub(
        [
            model("acme/zebra-56b", WIDE, shards=4, downloads=900),
            model("acme/zebra-56b-AWQ", AWQ, tags=(tag, "awq"), downloads=800),
            model("locked/zebra-gated", gated="manual", downloads=700),
        ]
    ) as running:
        yield running


def test_from_three_letters_to_a_form_that_fits(start: Start, hub: FakeHub) -> None:
    terminal = start(
        "--model", "Qwen/Qwen3-8B", "--gpu", "L40S", module="wizard", changes={"HF_ENDPOINT": hub.url}
    )
    terminal.wait_for("type to search")
    terminal.press(*"zeb")
    terminal.wait_for("zebra-gated")
    terminal.wait_for("✗ acme/zebra-56b ")
    terminal.press("down", "down", "enter")
    terminal.wait_for(lambda text: "accept its terms" in text and "HF_TOKEN" in text)
    terminal.press("u", "1", *"zeb")
    terminal.wait_for("✗ acme/zebra-56b ")
    terminal.press("enter")
    terminal.wait_for("Won't start")
    terminal.press("1")
    terminal.wait_for("✓ acme/zebra-56b-AWQ")
    terminal.press("down", "enter")
    terminal.wait_for(lambda text: "zebra-56b-AWQ on 1 × NVIDIA L40S" in text and "✓ Fits" in text)
    hub.hangs = True
    terminal.press("1", *"qwen3-32")
    terminal.wait_for("Qwen3-32B")
    terminal.press("down", "enter")
    terminal.wait_for("Qwen3-32B")
    terminal.press("ctrl+q")
    assert terminal.wait_exit(deadline_s=8) == 0


def test_a_hub_that_is_gone_is_told_and_nothing_stops(start: Start) -> None:
    terminal = start("--gpu", "L40S", "--model", "Qwen/Qwen3-8B", module="wizard")
    terminal.wait_for("type to search")
    terminal.press(*"qwen3")
    terminal.wait_for("can't be reached")
    terminal.wait_for("✓ Qwen/Qwen3-8B")
