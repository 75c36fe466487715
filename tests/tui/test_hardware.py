"""Step 2: what is there, ticked on and off; and what if it were another machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tui.fake_engine import CARDS, FakeEngine, two_h100
from tests.tui.screen import lines, opened, settled, text
from wizard.hardware.detect import Machine
from wizard.hardware.preflight import Check
from wizard.hardware.topology import read
from wizard.schemas.outputs import GPUInfo, GPUProcess
from wizard.tui.app import WizardApp
from wizard.tui.screens.hardware import HardwareStep
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


def taken(machine: Machine, gib: float) -> Machine:
    """The same machine with so much of its first GPU held by others."""
    first = replace(machine.gpus[0], memory_used_bytes=int(gib * (1 << 30)))
    return replace(machine, gpus=(first, *machine.gpus[1:]))


def hardware(app: WizardApp) -> HardwareStep:
    return app.screen.query_one(HardwareStep)


async def test_memory_that_others_take_shows_while_the_screen_is_open() -> None:
    engine = FakeEngine(two_h100())
    async with opened(engine) as (app, pilot):
        await pilot.press("2")
        await settled(app, pilot)
        engine.detected = taken(engine.detected, 20)
        hardware(app).look_again()
        await settled(app, pilot)
        assert "20.0 taken" in text(app)
        assert "other programs          20.0" in text(app)


async def test_nothing_new_plans_nothing_and_elsewhere_nobody_looks() -> None:
    engine = FakeEngine(two_h100())
    async with opened(engine) as (app, pilot):
        await pilot.press("2")
        await settled(app, pilot)
        plans, engine.detected = engine.plans, taken(engine.detected, 0.01)
        hardware(app).look_again()
        await settled(app, pilot)
        assert engine.plans == plans
        await pilot.press("3")
        engine.detected = taken(engine.detected, 20)
        hardware(app).look_again()
        await settled(app, pilot)
        assert app.facts.machine is not None
        assert app.facts.machine.gpus[0].memory_used_bytes < 1 << 30


async def test_the_gpu_under_the_cursor_tells_what_it_knows() -> None:
    machine = two_h100()
    known = replace(
        machine.gpus[0],
        power_limit_w=700.0,
        ecc=True,
        pcie_gen=5,
        pcie_width=16,
        numa_node=1,
        processes=(GPUProcess(4711, "python3", 6 << 30),),
    )
    machine = replace(machine, gpus=(known, machine.gpus[1]), topology=read((("X", "NV18"), ("NV18", "X"))))
    async with opened(FakeEngine(machine), size=(120, 40)) as (app, pilot):
        await pilot.press("2")
        await settled(app, pilot)
        said = " ".join(text(app).split())
        assert "GPU 0 · 700 W · ECC on · PCIe 5 ×16 · NUMA 1 · NV18 to 1 · python3 4711" in said
        await pilot.press("tab", "down")
        await settled(app, pilot)
        assert "GPU 1 · NV18 to 0" in " ".join(text(app).split())


async def test_what_could_spoil_a_start_is_listed_with_what_to_do() -> None:
    engine = FakeEngine(two_h100())
    engine.checks = (
        Check("ram", "RAM", "ok", "200 of 256 GiB of RAM are free."),
        Check("docker", "Docker", "warn", "docker is not on the PATH.", "serve.sh runs without it."),
        Check("disk", "Disk", "fail", "12 GiB are free at /x.", "The download needs 16 GiB; free some."),
    )
    async with opened(engine, size=(120, 40)) as (app, pilot):
        await pilot.press("2")
        await settled(app, pilot)
        shown = text(app)
        assert "✗ 12 GiB are free at /x. The download needs 16 GiB; free some." in shown
        assert shown.index("The download") < shown.index("docker is not")
        assert "✓ RAM" in shown
        await pilot.press("right")
        await settled(app, pilot)
        assert "The download" not in text(app)


async def test_a_broken_driver_is_said_without_being_asked() -> None:
    sentence = "NVML hangs: the NVIDIA driver does not answer; reboot."
    async with opened(FakeEngine(Machine(why_none=sentence, trouble=True))) as (app, pilot):
        assert "NVML hangs" in " ".join(text(app).split())
        await pilot.press("2")
        await settled(app, pilot)
        assert "● what if" in text(app)
        assert "NVML hangs" in " ".join(text(app).split())


async def test_more_of_this_machines_gpus_can_be_planned() -> None:
    async with opened(FakeEngine(two_h100())) as (app, pilot):
        await pilot.press("2")
        app.screen.query_one("#hardware-gpus").focus()
        await pilot.press("right")
        await settled(app, pilot)
        assert app.request.hardware.gpu == "auto"
        assert app.request.hardware.gpus is not None
        assert app.request.hardware.gpus > 2
