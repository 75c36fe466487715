"""What is known of one found model: three rows, and more where there is something to do."""

from __future__ import annotations

from wizard.engine import ModelRow
from wizard.schemas.outputs import Plan
from wizard.text import count, params, printable, short_count
from wizard.tui.lines import BLANK, Line, fit, fit_middle, line, wrap
from wizard.tui.widgets.painted import Painted

MOST_ROWS = 6

ROOMY = 30
"""Rows of a terminal from which notes leave room for everything else."""

ORIGINS = {"cache": "on this disk", "path": "this directory", "catalogue": "catalogue", "hub": "hub"}


class ModelFacts(Painted):
    """What is known of the model under the cursor, and what to do where it can't be had or loaded as it is."""

    DEFAULT_CSS = f"ModelFacts {{ height: auto; min-height: 3; max-height: {MOST_ROWS}; }}"

    def __init__(self) -> None:
        super().__init__(id="model-facts")
        self.found: ModelRow | None = None
        self.plan: Plan | None = None
        self.trouble = ""

    def show(self, found: ModelRow | None, plan: Plan | None, trouble: str = "") -> None:
        """Shows another model."""
        self.found, self.plan, self.trouble = found, plan, trouble
        if self.is_mounted and self.size:
            height = min(max(len(self.draw(self.size.width)), 3), MOST_ROWS)
            if height != self.size.height:
                self.refresh(layout=True)
        self.repaint()

    def draw(self, width: int) -> list[Line]:
        if self.found is None:
            return [BLANK]
        name = line(" ", (fit_middle(printable(self.found.id, 200), width - 1), ""))
        if self.trouble:
            why = printable(self.trouble).removeprefix(f"{self.found.id!r} ")  # the name stands above
            return [name, *(line(" ", (row, "quiet")) for row in wrap(why, width - 1, MOST_ROWS - 1))]
        where = " · ".join(self._around(self.found))
        if self.plan is None:
            return [name, line(" ", (fit(where, width - 1), "quiet"))]
        model = self.plan.model
        size = "size not known" if model.params is None else params(model.params)
        facts = f"{size} · {model.quantization or model.dtype} · {where}"
        reach = f"{count(model.max_position_embeddings)} tokens of context"
        if model.params is not None:
            reach += f" · {model.attention.upper()} attention"
        if model.hub_requests:
            reach += f" · {model.hub_bytes / 1000:,.0f} kB read"
        named = repr(self.found.id) + " "  # the name stands above
        notes = " ".join(printable(note).removeprefix(named) for note in model.notes)
        rows = [name, line(" ", (fit(facts, width - 1), "quiet"))]
        if not notes or self.app.size.height >= ROOMY:
            rows.append(line(" ", (fit(reach, width - 1), "quiet")))
        told = wrap(notes, width - 1, MOST_ROWS - len(rows)) if notes else []
        return [*rows, *(line(" ", (row, "tight")) for row in told)]

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
