"""What the front ends ask for: typed paths, and the hub within reach or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.drafting import drafting, tells_uncounted
from tests.hub.repository import CONFIG, model
from tests.hub.server import FakeHub
from wizard.dataclass import replace
from wizard.engine import GivenUpError, Planner, Progress
from wizard.hardware.resolve import resolve_hardware
from wizard.models import catalogue
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest


@pytest.mark.parametrize(
    "text", ["~nobody-here", "~", "/proc/1/", "/" + "a" * 300, "/tmp/\0", "/\udcff", "./no/such"]
)
def test_every_typed_path_has_a_row(text: str) -> None:
    assert Planner(offline=True).search_models(text)


@pytest.mark.parametrize(
    "text", ["\x1b[31mevil/repo", "[31mevil/repo", "a/b/c", "a /b", "../x/y", "/", "a/", "x" * 300 + "/y"]
)
def test_what_no_model_is_called_has_no_row_of_the_hub(text: str) -> None:
    assert not [row for row in Planner().search_models(text) if row.source == "hub"]


def test_a_whole_id_has_a_row_where_the_hub_can_be_asked() -> None:
    assert [row.id for row in Planner().search_models("nobody/unheard-of")] == ["nobody/unheard-of"]
    assert not Planner(offline=True).search_models("nobody/unheard-of")


class TestHub:
    """The engine of every run against a hub of the tests' own."""

    def test_rows_facts_and_forms(self, fake_hub: FakeHub) -> None:
        section = {"quant_method": "fp8"}
        fake_hub.repositories += [
            model("org/llama"),
            model(
                "a/llama-FP8",
                {**CONFIG, "quantization_config": section},
                tags=("base_model:quantized:org/llama",),
            ),
        ]
        engine = Planner()
        assert {row.id for row in engine.search_hub("llama", Progress())} == {"org/llama", "a/llama-FP8"}
        assert engine.glance_model("org/llama", Progress()) is not None
        progress = Progress()
        metadata = engine.load_model("org/llama", None, progress)
        assert progress.requests == 1 + 1 + 1
        assert list(engine.siblings(metadata, Progress())) == ["a/llama-FP8"]
        fake_hub.seen.clear()
        assert list(engine.siblings(metadata, Progress())) == ["a/llama-FP8"]
        assert not fake_hub.seen

    def test_offline_asks_nobody(self, fake_hub: FakeHub) -> None:
        engine = Planner(offline=True)
        assert engine.search_hub("llama", Progress()) == ()
        assert engine.glance_model("org/llama", Progress()) is None
        assert not fake_hub.seen

    def test_giving_up(self, fake_hub: FakeHub) -> None:
        fake_hub.hangs = True
        progress = Progress()
        progress.cancelled.set()
        with pytest.raises(GivenUpError):
            Planner().load_model("org/llama", None, progress)


def test_a_draft_that_nothing_here_can_size_is_not_counted(tmp_path: Path) -> None:
    config = {**CONFIG, "architectures": ["UnheardOfForCausalLM"], "model_type": "unheard_of", "n_odd": 1}
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_local_experts": 8}))
    engine, asked = Planner(offline=True), drafting(str(tmp_path))
    engine.load_draft(str(tmp_path), None, Progress())
    metadata = engine.load_model(asked.model.model, None, Progress())
    plan = engine.plan(asked, metadata, resolve_hardware(asked.hardware))
    assert tells_uncounted(plan)
    bare = engine.plan(drafting("org/nowhere"), metadata, resolve_hardware(asked.hardware))
    assert plan.feasibility.per_gpu == bare.feasibility.per_gpu


@pytest.mark.parametrize(("draft", "helps"), [("Qwen/Qwen3-1.7B", True), ("Qwen/Qwen3-8B", False)])
def test_a_quantised_form_helps_only_beside_its_draft(draft: str, helps: bool) -> None:
    target, form = "Qwen/Qwen3-14B", "Qwen/Qwen3-14B-AWQ"
    engine = Planner(offline=True)
    asked = drafting(draft).with_value("model.model", target).with_value("hardware.gpu", "L4")
    engine.load_draft(draft, None, Progress())
    metadata = engine.load_model(target, None, Progress())
    engine._siblings[target] = {form: engine.load_model(form, None, Progress())}
    plan = engine.plan_with_fixes(asked, metadata, resolve_hardware(asked.hardware))
    changed = [fix for fix in plan.fixes if ("model.model", form) in fix.changes]
    assert plan.feasibility.verdict != "fits"
    assert bool(changed) is helps


@pytest.mark.parametrize(
    ("name", "gpu", "gpus"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "GeForce RTX 4090", 2),
        ("meta-llama/Llama-3.3-70B-Instruct", "H100 SXM5 80GB", 4),
        ("Qwen/Qwen3-30B-A3B", "L40S", 2),
        ("openai/gpt-oss-20b", "GeForce RTX 4090", 1),
    ],
)
def test_longer_requests_never_fit_more_often(name: str, gpu: str, gpus: int) -> None:
    """Every row has the settings of the plan in force, whose own row agrees with it."""
    metadata = catalogue.load(name)
    assert metadata is not None
    hardware = HardwareInput(gpu=gpu, gpus=gpus)
    request = PlanRequest(model=ModelInput(model=name), hardware=hardware)
    cards = resolve_hardware(hardware)
    engine = Planner(offline=True)
    report = engine.plan(request, metadata, cards).feasibility
    rows = engine.reach(request, metadata, cards)
    held = [row.at_once for row in rows]
    assert held == sorted(held, reverse=True)
    here = next(row for row in rows if row.context == report.max_model_len)
    assert (here.at_once, here.verdict) == (report.kv_cache.max_concurrency, report.verdict)


def test_a_plan_that_was_just_made_is_had_again_and_one_of_other_facts_is_not() -> None:
    engine, request = Planner(offline=True), PlanRequest(model=ModelInput(model="Qwen/Qwen3-8B"))
    metadata, gpus = catalogue.load("Qwen/Qwen3-8B"), resolve_hardware(HardwareInput(gpu="L40S"))
    assert metadata is not None
    first = engine.plan(request, metadata, gpus)
    busy = [replace(gpu, memory_used_bytes=20 << 30) for gpu in gpus]
    assert engine.plan(request, metadata, busy).feasibility != first.feasibility
    assert engine.plan(request.with_value("workload.concurrency", 9), metadata, gpus) != first
    assert engine.plan(request, metadata, list(gpus)) is first
