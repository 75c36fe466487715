"""What is not loaded: subprocesses look in `sys.modules`, which alone proves that a deferral defers."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"textual", "rich", "questionary", "prompt_toolkit", "huggingface_hub", "pynvml", "yaml"}


def loaded_after(statement: str) -> set[str]:
    """Top-level names of the modules that `statement` loads in a fresh interpreter."""
    tell = "print('\\n', *sorted(sys.modules), file=sys.stderr)"
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\n{tell}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_loads_nothing_heavy(option: str) -> None:
    names = loaded_after(f"from wizard.cli import main; main(['{option}'])")
    assert not names & (HEAVY | {"pydantic"})


@pytest.mark.parametrize(("more", "needed"), [([], set()), (["--json"], {"yaml"})])
def test_plan_loads_no_interface_and_no_hub(more: list[str], needed: set[str]) -> None:
    """The document of --json holds the files, some of which are YAML; nothing else is loaded for it."""
    arguments = ["plan", "--model", "Qwen/Qwen3-8B", "--gpu", "L40S", "--offline", *more]
    names = loaded_after(f"from wizard.cli import main; main({arguments!r})")
    assert "pydantic" not in names
    assert names & HEAVY == needed


def test_package_root_is_free() -> None:
    assert not loaded_after("import wizard") & (HEAVY | {"pydantic"})


def test_public_names_are_found_and_listed_in_order() -> None:
    import wizard

    assert wizard.__all__ == sorted(wizard.__all__)
    for name in wizard.__all__:
        assert getattr(wizard, name) is not None
