"""Step 2: what is there, ticked on and off; and what if it were another machine."""

from __future__ import annotations

import pytest

from tests.tui.fake_engine import FakeEngine, two_h100
from tests.tui.screen import opened, settled, text


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


async def test_no_such_card_says_what_next() -> None:
    async with opened() as (app, pilot):
        await pilot.press("2", "tab", *"zzz", "enter")
        await settled(app, pilot)
        assert "No GPU of that name." in text(app)


async def test_the_list_follows_a_card_that_a_fix_or_an_undo_brings() -> None:
    async with opened(size=(60, 16)) as (app, pilot):
        await pilot.press("2")
        app.choose("hardware.gpu", "B200 180GB")
        await settled(app, pilot)
        assert "● B200 180GB" in text(app)
        await pilot.press("u")
        await settled(app, pilot)
        assert "● H100 SXM5 80GB" in text(app)


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
