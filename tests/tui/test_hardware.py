"""Step 2: what is there, ticked on and off; and what if it were another machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tui.fake_engine import CARDS, FakeEngine, two_h100
from tests.tui.screen import lines, opened, settled, text
from wizard.hardware.detect import Machine
from wizard.schemas.outputs import GPUInfo
from wizard.tui.widgets.entry import SearchBox


async def test_without_a_driver_one_sentence_and_the_what_if_machine() -> None:
    async with opened() as (app, pilot):
        await pilot.press("2")
        assert app.request.hardware.gpu == "H100 SXM5 80GB"
        assert "● what if" in text(app)
        await pilot.press("left")
        await settled(app, pilot)
        assert "No NVIDIA driver answers on this machine" in " ".join(text(app).split())


async def test_detected_gpus_are_ticked_off_and_on() -> None:
    async with opened(FakeEngine(two_h100())) as (app, pilot):
        await pilot.press("2", "tab", "down", "space")
        await settled(app, pilot)
        assert app.request.hardware.device_ids == ("0",)
        assert "on 1 × H100 SXM5 80GB" in text(app)
        await pilot.press("space")
        assert app.request.hardware.device_ids is None


async def test_the_last_ticked_gpu_stays() -> None:
    async with opened(FakeEngine(two_h100())) as (app, pilot):
        await pilot.press("2", "tab", "space", "down", "space")
        assert app.request.hardware.device_ids == ("1",)
        assert "At least one GPU stays ticked." in text(app)


async def test_others_memory_is_shown_beside_each_gpu() -> None:
    async with opened(FakeEngine(two_h100())) as (app, pilot):
        await pilot.press("2")
        assert "0.5 taken" in text(app)
        assert "driver 580.95.05 · CUDA 13.0" in text(app)


async def test_a_card_is_found_by_typing_and_counted_with_the_slider() -> None:
    async with opened() as (app, pilot):
        await pilot.press("2", "tab", "4", "0", "9", "0", "enter")
        await settled(app, pilot)
        assert app.request.hardware.gpu == "GeForce RTX 4090"
        await pilot.press("right", "right", "right")
        await settled(app, pilot)
        assert app.request.hardware.gpus == 4
        assert "4 × GeForce RTX 4090" in text(app)


async def test_memory_per_gpu_is_typed() -> None:
    async with opened() as (app, pilot):
        await pilot.press("2")
        app.screen.query_one("#hardware-vram_gb").focus()
        await pilot.press(*"40.5", "tab")
        await settled(app, pilot)
        assert app.request.hardware.vram_gb == 40.5
        assert "40.5 GiB" in text(app)


@pytest.mark.parametrize("typed", ["-3", "0", "lots", "1e9", "99999"])
async def test_a_wrong_number_is_said_and_not_taken(typed: str) -> None:
    async with opened() as (app, pilot):
        await pilot.press("2")
        app.screen.query_one("#hardware-vram_gb").focus()
        await pilot.press("x")
        app.screen.query_one("#hardware-vram_gb").value = typed  # type: ignore[attr-defined]
        await pilot.press("enter")
        assert app.request.hardware.vram_gb is None
        assert "Memory: type a number between" in text(app)


async def test_back_to_this_machine_takes_its_gpus_again() -> None:
    async with opened(FakeEngine(two_h100())) as (app, pilot):
        await pilot.press("2", "right")
        await settled(app, pilot)
        assert app.request.hardware.gpu == "H100 SXM5 80GB"
        await pilot.press("left")
        await settled(app, pilot)
        assert app.request.hardware.gpu == "auto"
        assert "on 2 ×" in text(app)


def sliced_h100() -> Machine:
    """One card cut in two."""
    small, big = (
        replace(CARDS[0], index=0, uuid=f"MIG-{letter * 4}-0000", mig_profile=profile)
        for letter, profile in (("a", "1g.10gb"), ("b", "3g.40gb"))
    )
    return Machine(gpus=(small, big), vendor="nvidia", driver="580.95.05", cuda="13.0")


async def test_mig_instances_of_one_card_are_told_apart_and_serve_alone() -> None:
    async with opened(FakeEngine(sliced_h100())) as (app, pilot):
        await pilot.press("2", "tab", "down", "space")
        await settled(app, pilot)
        assert app.request.hardware.device_ids == ("MIG-bbbb-0000",)
        shown = text(app)
        assert "[ ] 0 1g.10gb MIG-aaa" in shown
        assert "[x] 0 3g.40gb MIG-bbb" in shown
        assert "on 1 × H100 SXM5 80GB MIG 3g.40gb" in shown
        await pilot.press("up", "space")
        await settled(app, pilot)
        assert app.request.hardware.device_ids == ("MIG-aaaa-0000",)


async def test_slash_is_never_part_of_a_card() -> None:
    async with opened() as (app, pilot):
        await pilot.press("2")
        box = app.frame.query_one("#gpu-search", SearchBox)
        box.focus()
        await pilot.press("4", "slash", "0", "question_mark")
        assert box.value == "40"
        assert "Hardware: help" in text(app)


async def test_the_card_under_the_cursor_is_named_in_full() -> None:
    long = "NVIDIA RTX PRO 6000 Blackwell Server Edition"
    engine = FakeEngine()
    engine.gpu_catalogue = lambda text: [  # type: ignore[method-assign]
        GPUInfo(f"{long} {number}", 95 << 30, (12, 0), bandwidth_gb_s=1597) for number in (1, 2)
    ]
    async with opened(engine) as (app, pilot):
        await pilot.press("2")
        app.frame.query_one("#gpu-search").focus()
        await pilot.press("r", "down")
        rows = [row for row in lines(app) if "NVIDIA" in row and "…" in row]
        assert len(rows) == len({row[:46].strip(" ▸") for row in rows}) == 2
        assert f"{long} 2" in " ".join(text(app).split())
