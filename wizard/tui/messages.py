"""What workers tell the app when they are through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from wizard.engine import ModelRow, Reach
from wizard.schemas.inputs import PlanRequest
from wizard.schemas.outputs import Plan

if TYPE_CHECKING:
    from wizard.hardware.detect import Machine
    from wizard.hardware.preflight import Check
    from wizard.models.metadata import ModelMetadata


class NextKey(Message, bubble=False):
    """The key before has had its effect; the next one may go."""


@dataclass
class Detected(Message):
    """Detection is through."""

    machine: Machine


@dataclass
class Checked(Message):
    """The pre-flight list, and for what it was made."""

    wanted: object
    checks: tuple[Check, ...]


@dataclass
class ModelRead(Message):
    """A model's facts are there."""

    model: str
    revision: str | None
    metadata: ModelMetadata


@dataclass
class DraftRead(Message):
    """The facts of a model that drafts are there; the engine has them."""

    model: str
    revision: str | None


@dataclass
class Searched(Message):
    """Fixes and alternatives for one request; worthless for any other."""

    request: PlanRequest
    plan: Plan
    reach: tuple[Reach, ...]


@dataclass
class Written(Message):
    """Files are on disk."""

    directory: Path
    names: tuple[str, ...]


@dataclass
class Reading(Message):
    """A look-up is under way."""

    model: str
    words: str


@dataclass
class HubFound(Message):
    """What the hub has for one search, or why it could not be asked."""

    text: str
    rows: tuple[ModelRow, ...] = ()
    trouble: str = ""
    asked: bool = True
    """False where the hub may not be asked."""


@dataclass
class Judged(Message):
    """Plans of some rows, and sentences for those that can't be planned, for one request."""

    request: PlanRequest
    plans: dict[str, Plan]
    troubles: dict[str, str]


@dataclass
class FormsFound(Message):
    """Quantised forms of a model, with their plans for one request."""

    model: str
    rows: tuple[ModelRow, ...]
    judged: Judged
