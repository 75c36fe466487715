"""Every command of the palette: the action it runs, and its words."""

from __future__ import annotations

from wizard.questions import STEPS

COMMANDS: tuple[tuple[str, str], ...] = (
    *((f"app.go('{name}')", f"Go to {number} {title}") for number, (name, title) in enumerate(STEPS, 1)),
    ("app.write", "Write the files (^s)"),
    ("app.fixes", "Show the fixes (f)"),
    ("app.plans", "Show the other plans (p)"),
    ("app.why", "Why each value is what it is (w)"),
    ("app.undo", "Undo (u)"),
    ("app.redo", "Redo (U)"),
    ("app.search", "Search models (/)"),
    ("app.guide", "Help on this screen (?)"),
    ("app.restart", "Start over with fresh answers"),
    ("app.use_theme('wizard-dark')", "Dark colours"),
    ("app.use_theme('wizard-light')", "Light colours"),
    ("app.use_theme('wizard-ansi')", "The terminal's own 16 colours"),
    ("app.suspend_process", "Suspend (^z)"),
    ("app.leave", "Leave the wizard (^q)"),
)
