"""A screen as PNG, cell by cell: no browser, no SVG renderer, the same bytes for the same font.

Blocks and rules are drawn as rectangles, so that bars have no seams; everything else comes from
DejaVu Sans Mono, which Debian and most distributions install (`fonts-dejavu-core`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.cells import cell_len
from rich.color import Color
from rich.terminal_theme import TerminalTheme
from textual.strip import Strip

FONT_FOLDERS = (
    Path("/usr/share/fonts/truetype/dejavu"),
    Path("/usr/share/fonts/TTF"),
    Path("/usr/share/fonts/dejavu"),
)
SIZE = 20
CELL = (12, 24)
MARGIN = 18

SHADES = {"░": 0.30, "▒": 0.52, "▓": 0.78, "█": 1.0}

ANSI = TerminalTheme(
    (16, 19, 24),
    (215, 220, 228),
    [
        (16, 19, 24),
        (229, 96, 80),
        (63, 199, 154),
        (224, 175, 60),
        (91, 157, 255),
        (176, 140, 255),
        (80, 200, 220),
        (215, 220, 228),
    ],
    [
        (90, 98, 110),
        (255, 122, 102),
        (100, 230, 180),
        (255, 200, 80),
        (130, 180, 255),
        (200, 170, 255),
        (120, 225, 240),
        (255, 255, 255),
    ],
)


def fonts() -> tuple[ImageFont.FreeTypeFont, ImageFont.FreeTypeFont] | None:
    """Regular and bold, or None where the font is not installed."""
    for folder in FONT_FOLDERS:
        regular, bold = folder / "DejaVuSansMono.ttf", folder / "DejaVuSansMono-Bold.ttf"
        if regular.is_file() and bold.is_file():
            return ImageFont.truetype(str(regular), SIZE), ImageFont.truetype(str(bold), SIZE)
    return None


def draw(strips: Sequence[Strip], size: tuple[int, int], path: Path) -> bool:
    """Writes the picture; False where no font is at hand."""
    loaded = fonts()
    if loaded is None:
        return False
    columns, rows = size
    ground = _color(None, foreground=False)
    first = next((segment.style for strip in strips for segment in strip if segment.style), None)
    if first is not None and first.bgcolor is not None:
        ground = _color(first.bgcolor, foreground=False)
    image = Image.new("RGB", (columns * CELL[0] + 2 * MARGIN, rows * CELL[1] + 2 * MARGIN), ground)
    pen = ImageDraw.Draw(image)
    for y, strip in enumerate(strips):
        x = 0
        for segment in strip:
            style = segment.style
            front = _color(style.color if style else None, foreground=True)
            back = _color(style.bgcolor if style else None, foreground=False)
            if style and style.reverse:
                front, back = back, front
            if style and style.dim:
                front = _mix(front, back, 0.6)
            for character in segment.text:
                cells = cell_len(character)
                _cell(pen, loaded[1 if style and style.bold else 0], character, x, y, cells, front, back)
                x += cells
    image.quantize(colors=256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    return True


RGB = tuple[int, int, int]


def _cell(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    character: str,
    x: int,
    y: int,
    cells: int,
    front: RGB,
    back: RGB,
) -> None:
    width, height = CELL
    left, top = MARGIN + x * width, MARGIN + y * height
    right, bottom = left + width * max(cells, 1) - 1, top + height - 1
    pen.rectangle((left, top, right, bottom), fill=back)
    middle = top + height // 2
    if character in SHADES:
        pen.rectangle((left, top + 3, right, bottom - 3), fill=_mix(front, back, SHADES[character]))
        if character == "▒":
            _hatch(pen, left, top + 3, right, bottom - 3, _mix(front, back, 0.85))
    elif character == "━":
        pen.rectangle((left, middle - 2, right, middle + 1), fill=front)
    elif character == "─":
        pen.rectangle((left, middle - 1, right, middle), fill=front)
    elif character == "│":
        pen.rectangle((left + width // 2 - 1, top, left + width // 2, bottom), fill=front)
    elif character in "▚╱":
        pen.rectangle((left, top + 3, right, bottom - 3), fill=_mix(front, back, 0.45))
        _hatch(pen, left, top + 3, right, bottom - 3, front)
    elif not character.isspace() and cells:
        pen.text((left, top + 1), character, font=font, fill=front)


def _hatch(pen: ImageDraw.ImageDraw, left: int, top: int, right: int, bottom: int, color: RGB) -> None:
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            if (x + y) % 4 == 0:
                pen.point((x, y), fill=color)


def _color(color: Color | None, *, foreground: bool) -> RGB:
    if color is None or color.is_default:
        return tuple(ANSI.foreground_color if foreground else ANSI.background_color)
    return tuple(color.get_truecolor(ANSI, foreground=foreground))


def _mix(front: RGB, back: RGB, share: float) -> RGB:
    one, two, three = (round(f * share + b * (1 - share)) for f, b in zip(front, back, strict=True))
    return one, two, three
