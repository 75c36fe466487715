"""Colours: three themes of our own, and the roles that text is drawn in.

Good, tight and bad differ in lightness as well as hue (after Okabe and Ito's colour-blind-safe set),
and no role is ever the only carrier of its meaning: a word or a sign stands beside it.
Every colour is one of xterm's fixed 240, so that it looks the same on 256 colours and costs half the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

_DARK = {
    "quiet": "#949494",
    "rail": "#585858",
    "good": "#5fd7af",
    "tight": "#ffaf00",
    "bad": "#ff875f",
    "weights": "#5fafff",
    "activation": "#af87ff",
    "graphs": "#875fd7",
    "other": "#949494",
    "cache": "#5fd7af",
    "unused": "#585858",
    "taken": "#ff875f",
    "chip": "#121212",
}
_LIGHT = {
    "quiet": "#626262",
    "rail": "#b2b2b2",
    "good": "#005f5f",
    "tight": "#875f00",
    "bad": "#af0000",
    "weights": "#005fd7",
    "activation": "#875fd7",
    "graphs": "#5f5faf",
    "other": "#626262",
    "cache": "#005f5f",
    "unused": "#9e9e9e",
    "taken": "#af0000",
    "chip": "#ffffff",
}
_ANSI = {
    "quiet": "ansi_default",
    "rail": "ansi_default",
    "good": "ansi_green",
    "tight": "ansi_yellow",
    "bad": "ansi_red",
    "weights": "ansi_blue",
    "activation": "ansi_magenta",
    "graphs": "ansi_magenta",
    "other": "ansi_default",
    "cache": "ansi_green",
    "unused": "ansi_default",
    "taken": "ansi_red",
    "chip": "ansi_default",
}

DARK = Theme(
    name="wizard-dark",
    dark=True,
    primary="#5fafff",
    secondary="#949494",
    accent="#5fafff",
    foreground="#dadada",
    background="#121212",
    surface="#121212",
    panel="#1c1c1c",
    success="#5fd7af",
    warning="#ffaf00",
    error="#ff875f",
    variables={"input-selection-background": "#5fafff 35%", **{f"w-{k}": v for k, v in _DARK.items()}},
)
LIGHT = Theme(
    name="wizard-light",
    dark=False,
    primary="#005fd7",
    secondary="#626262",
    accent="#005fd7",
    foreground="#1c1c1c",
    background="#ffffff",
    surface="#ffffff",
    panel="#eeeeee",
    success="#005f5f",
    warning="#875f00",
    error="#af0000",
    variables={"input-selection-background": "#005fd7 25%", **{f"w-{k}": v for k, v in _LIGHT.items()}},
)
ANSI = Theme(
    name="wizard-ansi",
    ansi=True,
    dark=True,
    primary="ansi_blue",
    secondary="ansi_cyan",
    accent="ansi_cyan",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    variables={
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "block-cursor-foreground": "ansi_black",
        "block-cursor-background": "ansi_white",
        "screen-selection-background": "ansi_blue",
        "screen-selection-foreground": "ansi_white",
        "input-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        "input-cursor-text-style": "reverse",
        "input-selection-background": "ansi_blue",
        "input-selection-foreground": "ansi_white",
        "border": "ansi_default",
        "border-blurred": "ansi_default",
        **{f"w-{k}": v for k, v in _ANSI.items()},
    },
)
"""The terminal's own sixteen colours: fewer bytes, and whatever palette the user likes to read."""

THEMES = (DARK, LIGHT, ANSI)


@dataclass(frozen=True, slots=True)
class Role:
    """How one kind of text looks: a theme variable and plain attributes, which work without colour too."""

    color: str = "foreground"
    bold: bool = False
    dim: bool = False
    reverse: bool = False
    underline: bool = False


ROLES: Mapping[str, Role] = {
    "": Role(),
    "strong": Role(bold=True),
    "quiet": Role("w-quiet"),
    "accent": Role("accent"),
    "here": Role("accent", bold=True),
    "chip": Role("accent", bold=True, reverse=True),
    "key": Role(bold=True),
    "rail": Role("w-rail"),
    "good": Role("w-good", bold=True),
    "tight": Role("w-tight", bold=True),
    "bad": Role("w-bad", bold=True),
    "good-chip": Role("w-good", bold=True, reverse=True),
    "tight-chip": Role("w-tight", bold=True, reverse=True),
    "bad-chip": Role("w-bad", bold=True, reverse=True),
    "weights": Role("w-weights"),
    "activation": Role("w-activation"),
    "graphs": Role("w-graphs"),
    "other": Role("w-other"),
    "cache": Role("w-cache"),
    "unused": Role("w-unused"),
    "taken": Role("w-taken"),
    "code-comment": Role("w-quiet"),
    "code-key": Role("accent"),
    "code-text": Role("w-cache"),
    "code-number": Role("w-tight"),
}

SEEN_ON_BLANKS = frozenset(name for name, role in ROLES.items() if role.reverse or role.underline)
"""Roles in which a space looks unlike another space."""


def palette(variables: Mapping[str, str], ansi: bool) -> dict[str, Style]:
    """The foreground style of every role under the current theme.

    On a sixteen-colour terminal the quiet roles are dimmed: there is no grey to give them.
    """
    styles: dict[str, Style] = {}
    for name, role in ROLES.items():
        color = Color.parse(variables[role.color]).rich_color
        dim = role.dim or (ansi and role.color in {"w-quiet", "w-rail", "w-unused"})
        styles[name] = Style(
            color=color,
            bold=role.bold or None,
            dim=dim or None,
            reverse=role.reverse or None,
            underline=role.underline or None,
        )
    return styles


def is_colorless(term: str) -> bool:
    """Terminals of the days before colour."""
    return term.startswith(("vt1", "vt2")) or term.endswith(("-m", "-mono"))


def theme_for(environment: Mapping[str, str], *, plain: bool) -> str:
    """Dark, unless the terminal has only sixteen colours or says that its ground is light.

    `VLLM_WIZARD_THEME` (dark, light, ansi) decides where it is set.
    """
    wanted = f"wizard-{environment.get('VLLM_WIZARD_THEME', '')}"
    if not plain and wanted in {each.name for each in THEMES}:
        return wanted
    term = environment.get("TERM", "")
    many = "256color" in term or "direct" in term or environment.get("COLORTERM") in {"truecolor", "24bit"}
    if plain or not many:
        return ANSI.name
    ground = environment.get("COLORFGBG", "").rsplit(";", 1)[-1]
    return LIGHT.name if ground in {"7", "15"} else DARK.name
