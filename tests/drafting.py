"""A request that names a model to draft, and an engine that counts how often it was read."""

from __future__ import annotations

import json

from tests.hub.repository import CONFIG
from wizard.engine import Planner, Progress
from wizard.hardware.detect import Machine
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, PolicyInput
from wizard.schemas.outputs import Plan

TARGET = "meta-llama/Llama-3.1-8B-Instruct"
CARD = "H100 SXM5 80GB"
DRAFT = {**CONFIG, "vocab_size": 128256}
"""A small model of the target's words."""
UNCOUNTED = "The model that drafts is not known here: its weights and cache are not counted."


class Counting(Planner):
    """The real engine on a machine without GPUs; `looks` are the drafts that it was told to read."""

    def __init__(self, *, offline: bool = False) -> None:
        super().__init__(offline=offline)
        self.looks: list[str] = []

    def detect(self) -> Machine:
        return Machine(why_none="No NVIDIA driver on this machine; choose a GPU of the catalogue.")

    def load_draft(self, model: str, revision: str | None, progress: Progress) -> None:
        self.looks.append(model)
        super().load_draft(model, revision, progress)


def drafting(name: str | None) -> PlanRequest:
    """A request whose extra flags let `name` draft; None: none."""
    asked = json.dumps({"method": "draft_model", "model": name, "num_speculative_tokens": 3})
    flags = () if name is None else ("--speculative-config", asked)
    return PlanRequest(
        model=ModelInput(model=TARGET),
        hardware=HardwareInput(gpu=CARD, gpus=1),
        policy=PolicyInput(vllm_version="0.33.0", extra_args=flags),
    )


def tells_uncounted(plan: Plan) -> bool:
    """Whether the plan says that its draft isn't counted."""
    return any(UNCOUNTED in warning for warning in plan.warnings)
