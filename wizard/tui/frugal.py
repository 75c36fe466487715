"""Fewer bytes for the same picture: what makes the wizard pleasant over a slow link.

Textual 8.2.8 ends every run of text with a full reset, repeats the ground colour in every run, and starts
a partial update at the left edge of the widget whatever changed, and renders whatever lies between two
changes. Here runs state only what differs from the run before, blanks carry no text colour, an update starts
at the first cell that changed, and only widgets that changed are rendered.

This reaches into Textual's compositor, which is why its version is pinned; `tests/tui/test_frugal.py`
draws both ways and compares the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.color import Color, ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, Compositor, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

BOLD, DIM, ITALIC, UNDERLINE, BLINK, REVERSE, STRIKE = 1, 2, 4, 8, 16, 64, 256
"""Bits of `Style._attributes`, in the order of SGR 1-9."""

ON = {BOLD: "1", DIM: "2", ITALIC: "3", UNDERLINE: "4", BLINK: "5", REVERSE: "7", STRIKE: "9"}
OFF = {BOLD: "22", DIM: "22", ITALIC: "23", UNDERLINE: "24", BLINK: "25", REVERSE: "27", STRIKE: "29"}
SEEN_ON_BLANKS = UNDERLINE | REVERSE | STRIKE
"""Attributes that a space shows; bold or coloured, it looks the same."""

Look = tuple[int, str, str]
"""Attribute bits, and the SGR parameters of text and ground; empty for the terminal's own."""

PLAIN: Look = (0, "", "")

_LEVELS = (0, 95, 135, 175, 215, 255)
_FIXED = {
    **{(r, g, b): 16 + 36 * i + 6 * j + k for i, r in enumerate(_LEVELS) for j, g in enumerate(_LEVELS)
       for k, b in enumerate(_LEVELS)},
    **{(8 + 10 * step,) * 3: 232 + step for step in range(24)},
}  # fmt: skip
"""Number of each fixed colour of xterm's 256 by its red, green and blue: a 6x6x6 cube and 24 greys."""


class Pen:
    """Writes runs of text; remembers how the terminal draws at the moment."""

    def __init__(self, colors: ColorSystem | None) -> None:
        self.colors = colors
        self.out: list[str] = []
        self._now: Look = PLAIN
        self._looks: dict[Style, Look] = {}

    def move(self, x: int, y: int) -> None:
        """To a cell, counted from 0."""
        self.out.append(f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H")

    def write(self, segments: Iterable[Segment]) -> None:
        """Runs of text from the present cell on."""
        for segment in segments:
            if segment.text and not segment.control:
                self._turn_to(self._look(segment.style), blank=segment.text.isspace())
                self.out.append(segment.text)

    def finish(self) -> str:
        """All that was written, with the terminal left as plain as it was found."""
        if self._now != PLAIN:
            self.out.append("\x1b[m")
            self._now = PLAIN
        return "".join(self.out)

    def _turn_to(self, wanted: Look, *, blank: bool) -> None:
        bits, text, ground = wanted
        had_bits, had_text, had_ground = self._now
        if blank and not (bits | had_bits) & SEEN_ON_BLANKS:
            bits, text = had_bits, had_text
        if (bits, text, ground) == self._now:
            return
        if (had_text and not text) or (had_ground and not ground):
            steps = ["", *(ON[bit] for bit in ON if bits & bit), *filter(None, (text, ground))]
        else:
            gone = had_bits & ~bits
            again = bits & (BOLD | DIM) if gone & (BOLD | DIM) else 0
            steps = list(dict.fromkeys(OFF[bit] for bit in OFF if gone & bit))
            steps += [ON[bit] for bit in ON if (bits & ~had_bits | again) & bit]
            steps += [text] if text != had_text else []
            steps += [ground] if ground != had_ground else []
        self.out.append(f"\x1b[{';'.join(steps)}m")
        self._now = (bits, text, ground)

    def _look(self, style: Style | None) -> Look:
        if style is None:
            return PLAIN
        look = self._looks.get(style)
        if look is None:
            look = self._looks[style] = self._new_look(style)
        return look

    def _new_look(self, style: Style) -> Look:
        if self.colors is None:
            return (style._attributes & style._set_attributes, "", "")
        text, ground = (
            "" if color is None or color.is_default else self._parameters(color, front)
            for color, front in ((style.color, True), (style.bgcolor, False))
        )
        return (style._attributes & style._set_attributes, text, ground)

    def _parameters(self, color: Color, front: bool) -> str:
        """SGR parameters of a colour: by number where it has one, which is half as long and no other colour."""
        assert self.colors is not None
        triplet = color.triplet
        number = None if triplet is None else _FIXED.get((triplet.red, triplet.green, triplet.blue))
        if number is not None and self.colors is ColorSystem.TRUECOLOR:
            return f"{38 if front else 48};5;{number}"
        return ";".join(color.downgrade(self.colors).get_ansi_codes(front))


def _pen(console: Console) -> Pen:
    names = {
        "standard": ColorSystem.STANDARD,
        "256": ColorSystem.EIGHT_BIT,
        "truecolor": ColorSystem.TRUECOLOR,
    }
    return Pen(names.get(console.color_system or ""))


class FrugalLayout(LayoutUpdate):
    """The whole screen."""

    written_bytes = 0
    """What the last writing came to."""

    def render_segments(self, console: Console) -> str:
        pen = _pen(console)
        for y, strips in enumerate(self.strips, self.region.y):
            pen.move(self.region.x, y)
            for strip in strips:
                pen.write(strip)
        text = pen.finish()
        self.written_bytes = len(text.encode())
        return text


class FrugalChops(ChopsUpdate):
    """Only the spans that changed."""

    written_bytes = 0
    """What the last writing came to."""

    def render_segments(self, console: Console) -> str:
        pen = _pen(console)
        for y, start, end in self.spans:
            at: int | None = None
            for chop_end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                if strip is None or x >= end or chop_end <= start:
                    continue
                first, last = max(x, start), min(chop_end, end)
                if at != first:
                    pen.move(first, y)
                whole = first == x and last == chop_end
                pen.write(strip if whole else strip.crop(first - x, last - x))
                at = last
        text = pen.finish()
        self.written_bytes = len(text.encode())
        return text


class FrugalCompositor(Compositor):
    """Textual's compositor, writing frugally."""

    _changed: Sequence[Region] = ()
    """What a partial update is for, while it is made."""

    def render_full_update(self, simplify: bool = False) -> LayoutUpdate:
        update = super().render_full_update(simplify)
        return FrugalLayout(update.strips, update.region)

    def render_partial_update(self) -> ChopsUpdate | None:
        self._changed = tuple(self._dirty_regions)
        try:
            update = super().render_partial_update()
        finally:
            self._changed = ()
        if update is None:
            return None
        chops: Sequence[Any] = update.chops
        return FrugalChops(chops, update.spans, update.chop_ends)

    def _get_renders(self, crop: Region | None = None) -> Iterable[tuple[Region, Region, list[Strip]]]:
        """Front to back, the widgets that show through where something changed.

        Textual's own renders every widget in the rectangle around all changes, which is most of the screen.
        """
        if not self._changed:
            yield from super()._get_renders(crop)
            return
        wanted = self._changed
        for widget, (region, clip) in self.visible_widgets.items():
            seen = region.intersection(clip)
            if not any(map(seen.overlaps, wanted)):
                continue
            yield region, clip, widget.render_lines(seen.translate(-region.offset))
            wanted = [each for each in wanted if not seen.contains_region(each)]
            if not wanted:
                return
