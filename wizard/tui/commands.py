"""Every command of the palette: the action it runs, its words, and other words that people look for it by."""

from __future__ import annotations

from wizard.questions import STEPS

COMMANDS: tuple[tuple[str, str, str], ...] = (
    *(
        (f"app.go('{name}')", f"Go to {number} {title}", "jump open screen step")
        for number, (name, title) in enumerate(STEPS, 1)
    ),
    ("app.write", "Write the files (^s)", "save export download"),
    ("app.fixes", "Show the fixes (f)", "repair solve error"),
    ("app.plans", "Show the other plans (p)", "alternatives compare scatter cheaper"),
    ("app.why", "Why each value is what it is (w)", "explain reasons settings"),
    ("app.undo", "Undo (u)", "revert back"),
    ("app.redo", "Redo (U)", "again repeat"),
    ("app.search", "Search models (/)", "find filter look"),
    ("app.guide", "Help on this screen (?)", "guide manual explain keys"),
    ("app.restart", "Start over with fresh answers", "reset clear new default"),
    ("app.use_theme('wizard-dark')", "Dark colours", "theme mode black night colors"),
    ("app.use_theme('wizard-light')", "Light colours", "theme mode white day bright colors"),
    ("app.use_theme('wizard-ansi')", "The terminal's own 16 colours", "theme mode ansi native colors"),
    ("app.suspend_process", "Suspend (^z)", "background pause shell"),
    ("app.leave", "Leave the wizard (^q)", "quit exit close end"),
)
