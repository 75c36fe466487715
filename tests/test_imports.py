"""What is not loaded: subprocesses look in `sys.modules`, which alone proves that a deferral defers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = {
    *("textual", "rich", "questionary", "prompt_toolkit", "huggingface_hub", "pynvml", "yaml"),
    *("pydantic", "pydantic_core", "annotated_types"),
}

SLOW = {
    *(
        "dataclasses",
        "inspect",
        "ast",
        "pathlib",
        "urllib.parse",
        "importlib.metadata",
        "importlib.resources",
    ),
    *("difflib", "email", "gzip", "hashlib", "hmac", "logging", "queue", "random", "secrets", "shutil"),
    *("socket", "subprocess", "tempfile", "textwrap", "threading", "zipfile"),
}
"""Of the standard library, a millisecond and more each: a plan whose facts are at hand needs none of them."""

OTHERS = (
    *("decoders", "deepseek", "encoders", "gemma3n", "kimi", "latent", "mixers", "mtp", "towers_", "vit"),
    *("whisper", "hub_connection", "local", "mistral_format", "modelopt", "repository", "stored", "traffic"),
)
"""Modules below `wizard.models` that a plain decoder of the catalogue has nothing to do with."""


def loaded_after(statement: str) -> set[str]:
    """The modules that `statement` loads in a fresh interpreter, besides those that starting it loads."""
    tell = "print('\\n', *sorted(set(sys.modules) - before), file=sys.stderr)"
    code = (
        f"import sys\nbefore = set(sys.modules)\ntry:\n    {statement}\nexcept SystemExit:\n    pass\n{tell}"
    )
    plain = {name: value for name, value in os.environ.items() if name != "HF_ENDPOINT"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=plain)
    return set(done.stderr.split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_loads_nothing_heavy(option: str) -> None:
    names = loaded_after(f"from wizard.cli import main; main(['{option}'])")
    assert not names & HEAVY
    assert not {
        name for name in names if name.startswith(("wizard.planning", "wizard.models", "wizard.schemas"))
    }


def plan_of(model: str, *options: str, gpu: str = "L40S") -> set[str]:
    arguments = ["plan", "--model", model, "--gpu", gpu, "--offline", "--json", *options]
    return loaded_after(f"from wizard.cli import main; main({arguments!r})")


def test_a_plan_loads_no_interface_no_hub_and_nothing_slow() -> None:
    assert plan_of("Qwen/Qwen3-8B") & (HEAVY | SLOW) == set()


def test_a_plan_of_a_catalogue_model_loads_no_hub_client_without_a_network() -> None:
    arguments = ["plan", "--model", "Qwen/Qwen3-8B", "--gpu", "L40S", "--json"]
    names = loaded_after(
        "import os; os.environ['HF_ENDPOINT'] = 'http://hub.invalid'\n"
        f"    from wizard.cli import main; main({arguments!r})"
    )
    assert "wizard.render.plan_json" in names and not names & HEAVY


def test_a_plan_loads_the_family_of_its_model_and_no_other() -> None:
    names = plan_of("meta-llama/Llama-3.1-8B-Instruct")
    assert not {name for name in names for other in OTHERS if name.startswith(f"wizard.models.{other}")}
    assert "wizard.models.layers" in names
    names = plan_of("Qwen/Qwen2.5-VL-7B-Instruct")
    assert "wizard.models.towers_qwen" in names and "wizard.models.towers_clip" not in names


def test_fixes_are_loaded_where_a_plan_needs_any_and_no_cluster_for_one_machine() -> None:
    searched = {"wizard.planning.fixes", "wizard.planning.request_options"}
    names = plan_of("Qwen/Qwen3-8B")
    elsewhere = {f"wizard.render.{name}" for name in ("bundle", "compose", "kubernetes", "nginx", "nodes")}
    assert not names & (searched | elsewhere)
    assert searched <= plan_of("meta-llama/Llama-3.3-70B-Instruct", gpu="RTX 4090")


def test_answers_that_are_not_plainly_right_are_left_to_pydantic() -> None:
    assert "pydantic" in plan_of("Qwen/Qwen3-8B", "--dtype", "float64")


def test_a_fresh_wizard_needs_no_pydantic() -> None:
    names = loaded_after(
        "import wizard.tui.app, wizard.session; from wizard.wording import first_request\n"
        "    import tempfile, pathlib; store = wizard.session.SessionStore(pathlib.Path(tempfile.mkdtemp()))\n"
        "    assert store.save(wizard.session.Session(request=first_request()))"
    )
    assert "textual" in names and not names & {"pydantic", "huggingface_hub", "questionary"}


def test_package_root_is_free() -> None:
    names = loaded_after("import wizard")
    assert not names & HEAVY and {name for name in names if name.startswith("wizard")} == {"wizard"}


def test_public_names_are_found_and_listed_in_order() -> None:
    import wizard

    assert wizard.__all__ == sorted(wizard.__all__)
    for name in wizard.__all__:
        assert getattr(wizard, name) is not None
