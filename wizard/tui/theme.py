"""Colours: three themes of our own, and the roles that text is drawn in.

Good, tight and bad differ in lightness as well as hue (after Okabe and Ito's colour-blind-safe set),
and no role is ever the only carrier of its meaning: a word or a sign stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

_DARK = {
    "quiet": "#8b94a3",
    "rail": "#3a414d",
    "good": "#3fc79a",
    "tight": "#f0b429",
    "bad": "#ff7a66",
    "weights": "#5b9dff",
    "activation": "#b08cff",
    "graphs": "#7f6bd6",
    "other": "#8b94a3",
    "cache": "#3fc79a",
    "unused": "#4a5261",
    "taken": "#ff7a66",
    "chip": "#101318",
}
_LIGHT = {
    "quiet": "#5b6472",
    "rail": "#c3c9d2",
    "good": "#00785a",
    "tight": "#8a5a00",
    "bad": "#b3261e",
    "weights": "#1d5fd0",
    "activation": "#7440c8",
    "graphs": "#5a45b0",
    "other": "#5b6472",
    "cache": "#00785a",
    "unused": "#9aa3b0",
    "taken": "#b3261e",
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
    primary="#5b9dff",
    secondary="#8b94a3",
    accent="#5b9dff",
    foreground="#d7dce4",
    background="#101318",
    surface="#101318",
    panel="#181c23",
    success="#3fc79a",
    warning="#f0b429",
    error="#ff7a66",
    variables={"input-selection-background": "#5b9dff 35%", **{f"w-{k}": v for k, v in _DARK.items()}},
)
LIGHT = Theme(
    name="wizard-light",
    dark=False,
    primary="#1d5fd0",
    secondary="#5b6472",
    accent="#1d5fd0",
    foreground="#1c2430",
    background="#fbfbfc",
    surface="#fbfbfc",
    panel="#eff1f4",
    success="#00785a",
    warning="#8a5a00",
    error="#b3261e",
    variables={"input-selection-background": "#1d5fd0 25%", **{f"w-{k}": v for k, v in _LIGHT.items()}},
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
