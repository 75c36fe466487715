"""Weights that may not load qualify the verdict, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planning.asking import LLAMA_8B, facts, planned, request
from wizard.hardware.resolve import resolve_hardware
from wizard.models.metadata import Checkpoint, ModelMetadata, TensorInfo
from wizard.planning.planner import check, plan
from wizard.schemas.outputs import VLLMConfig

RISK = "vLLM would stop while it loads the weights: model.safetensors is truncated; finish its download."
ASKED = request(LLAMA_8B, "H100 SXM5 80GB")


MODEL = replace(facts(LLAMA_8B), gated=False)


def broken() -> ModelMetadata:
    return replace(MODEL, warnings=("Another.", RISK), load_risks=(RISK,))


def test_weights_that_may_not_load_are_never_an_unqualified_fit() -> None:
    sound, doubtful = planned(ASKED, MODEL), planned(ASKED, broken())
    assert sound.feasibility.verdict == "fits"
    assert doubtful.feasibility.verdict == "tight"
    assert doubtful.feasibility.warnings == (RISK,)
    assert doubtful.warnings == ("Another.",)
    assert doubtful.config == sound.config
    assert all(each.feasibility.verdict != "fits" for each in doubtful.alternatives)


def test_check_says_the_same_of_its_command() -> None:
    found = check(VLLMConfig(model=LLAMA_8B, max_model_len=8192), broken(), resolve_hardware(ASKED.hardware))
    assert found.feasibility.verdict == "tight"
    assert RISK in found.feasibility.warnings


def test_what_will_not_start_keeps_its_error_and_tells_the_risk_too() -> None:
    small = request(LLAMA_8B, "RTX 4060")
    found = planned(small, broken())
    assert found.feasibility.verdict == "wont_start"
    assert RISK in found.warnings
    assert not any(
        fix.verdict_after == "fits" and "model.model" not in dict(fix.changes) for fix in found.fixes
    )


def held(gib: float) -> ModelMetadata:
    """The model with one tensor of so many GiB in its files."""
    size = int(gib * (1 << 30)) // 2 * 2
    tensor = TensorInfo("BF16", (size // 2,), size)
    return replace(MODEL, checkpoint=Checkpoint({"model.norm.weight": tensor}, size))


@pytest.mark.parametrize(
    ("gib", "verdict", "exact", "said"),
    [
        (14.96, "fits", True, None),
        (18, "fits", False, "off by as much"),
        (0.0004, "tight", False, "may stop"),
    ],
)
def test_headers_against_config(gib: float, verdict: str, exact: bool, said: str | None) -> None:
    found = plan(ASKED, held(gib), resolve_hardware(ASKED.hardware))
    assert found.feasibility.verdict == verdict
    assert found.model.weights_exact is exact
    told = " ".join((*found.feasibility.warnings, *found.warnings))
    assert (said in told) if said else (told == "")


def test_the_tensors_of_a_checkpoint_are_added_up_once() -> None:
    class Counted(dict[str, TensorInfo]):
        looks = 0

        def items(self):  # type: ignore[no-untyped-def]
            Counted.looks += 1
            return super().items()

    metadata = held(14.96)
    assert metadata.checkpoint is not None
    counted = replace(metadata, checkpoint=Checkpoint(Counted(metadata.checkpoint.tensors), 1))
    for gpus in (1, 2, 4):
        asked = request(LLAMA_8B, "H100 SXM5 80GB", gpus)
        plan(asked, counted, resolve_hardware(asked.hardware))
    assert Counted.looks == 1
