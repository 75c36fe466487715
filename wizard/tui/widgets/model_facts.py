"""What is known of one found model, in three rows."""

from __future__ import annotations

from wizard.engine import ModelRow
from wizard.schemas.outputs import Plan
from wizard.text import count, params, printable, short_count
from wizard.tui.lines import BLANK, Line, fit, fit_middle, line, wrap
from wizard.tui.widgets.painted import Painted

ORIGINS = {"cache": "on this disk", "path": "this directory", "catalogue": "catalogue", "hub": "hub"}


class ModelFacts(Painted):
    """What is known of the model under the cursor, in three rows."""

    DEFAULT_CSS = "ModelFacts { height: 3; }"

    def __init__(self) -> None:
        super().__init__(id="model-facts")
        self.found: ModelRow | None = None
        self.plan: Plan | None = None
        self.trouble = ""

    def show(self, found: ModelRow | None, plan: Plan | None, trouble: str = "") -> None:
        """Shows another model."""
        self.found, self.plan, self.trouble = found, plan, trouble
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        if self.found is None:
            return [BLANK]
        name = line(" ", (fit_middle(printable(self.found.id, 200), width - 1), ""))
        if self.trouble:
            why = printable(self.trouble).removeprefix(f"{self.found.id!r} ")  # the name stands above
            return [name, *(line(" ", (row, "quiet")) for row in wrap(why, width - 1, 2))]
        where = " · ".join(self._around(self.found))
        if self.plan is None:
            return [name, line(" ", (fit(where, width - 1), "quiet"))]
        model = self.plan.model
        size = "size not known" if model.params is None else params(model.params)
        facts = f"{size} · {model.quantization or model.dtype} · {where}"
        reach = f"{count(model.max_position_embeddings)} tokens of context"
        if model.params is not None:
            reach += f" · {model.attention.upper()} attention"
        return [
            name,
            line(" ", (fit(facts, width - 1), "quiet")),
            line(" ", (fit(reach, width - 1), "quiet")),
        ]

    @staticmethod
    def _around(found: ModelRow) -> list[str]:
        """Where the model is, and what the hub says around it."""
        words = [ORIGINS.get(found.source, found.source)]
        if found.gated:
            words.append("gated")
        if found.license:
            words.append(printable(found.license, 30))
        if found.downloads is not None:
            words.append(f"{short_count(found.downloads)} downloads")
        return words
