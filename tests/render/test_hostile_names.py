"""Names with quotes, `$(...)`, newlines, dashes, YAML specials and non-ASCII come out literally everywhere."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.render.commands_of import commands_of, load
from tests.render.plans import plan, request
from wizard.render.bundle import render
from wizard.render.commands import render_docker_command, render_docker_compose, render_serve_command
from wizard.render.escaping import (
    comment,
    csv_field,
    kubernetes_name,
    markdown_code,
    shell_word,
    systemd_word,
)
from wizard.render.profile import profile_to_request
from wizard.schemas.outputs import VLLMConfig
from wizard.vllm.serve_args import parse_serve_command

NASTY = (
    "plain",
    "two words",
    "it's",
    'a "quoted" one',
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME}",
    "a;touch pwned",
    "a && touch pwned",
    "line\nbreak",
    "tab\tand\rreturn",
    "back\\slash",
    "--flag",
    "-rf",
    "# comment",
    "%h and $$",
    "key: value",
    "!!python/object",
    "*alias",
    "&anchor",
    "{a: 1}",
    "[1, 2]",
    "yes",
    "1e3",
    "null",
    "~",
    "ünïcödé 模型 🚀",
    "$'x'",
    "a,b=c",
    "trailing ",
    "\x1b[31mred",
    "\u202eevil",
    "%",
    "$",
    "$(LWS_LEADER_ADDRESS)",
    "'",
    '"',
    "\\",
    "a\\\nb",
)
EMIT = [
    "serve",
    "docker",
    "compose",
    "config",
    "systemd",
    "kubernetes",
    "production-stack",
    "llm-d",
    "plan",
    "profile",
]
NAMES = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\x00/"), min_size=1, max_size=24
)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a `vllm` and a `docker` that print their arguments, NUL after each."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("vllm", "docker"):
        script = folder / name
        script.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
        script.chmod(0o755)
    return folder


def run(script: str, runner: Path) -> list[str]:
    """What bash passes to the program that the script starts."""
    environment = {"PATH": f"{runner}:{os.environ['PATH']}", "HOME": str(runner)}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, cwd=runner, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert not (runner / "pwned").exists()
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


def in_directory(name: str) -> str:
    return f"/models/{name}"


@pytest.mark.parametrize("name", NASTY)
def test_the_shell_runs_the_very_name(name: str, runner: Path) -> None:
    served = plan(model=name.strip() or "x")
    files = render(served, request(), ["serve", "docker"])
    model = served.config.model
    literal = f"./{model}" if model.startswith("-") else model
    assert run(files["serve.sh"], runner)[1] == literal
    arguments = run(files["docker-run.sh"], runner)
    assert arguments[arguments.index("serve") + 1] == literal


@pytest.mark.parametrize("name", NASTY)
def test_a_directory_of_that_name_is_mounted_and_served(name: str, runner: Path) -> None:
    directory = in_directory(name)
    served = plan(model=directory, source="path", revision=None)
    files = render(served, request(), ["all"])
    expected = directory.strip() if directory != directory.strip() else directory
    arguments = run(files["serve.sh"], runner)
    assert arguments[1] == expected or arguments[1] == directory
    shown = Path(arguments[1]).name
    assert f"--served-model-name={shown}" in arguments or shown in arguments
    mount = run(files["docker-run.sh"], runner)
    assert mount[mount.index("--mount") + 1].startswith("type=bind,")
    volume = load(files["docker-compose.yaml"])["services"]["vllm"]["volumes"][0]
    assert volume["source"].replace("$$", "$") == arguments[1]
    assert commands_of("vllm.service", files["vllm.service"])[0][2] == arguments[1]


def check_everywhere(name: str) -> None:
    """Every artifact's command names the model literally, and every file is valid in its format."""
    served = plan(model=name)
    literal = f"./{name}" if name.startswith("-") else name
    files = render(served, request(model="x"), EMIT)
    checked = 0
    for file, text in files.items():
        for words in [] if file.endswith(".sh") else commands_of(file, text):
            assert words[2] == literal, file
            parse_serve_command(words)
            checked += 1
    assert checked >= 6
    assert json.loads(files["plan.json"])["config"]["model"] == name
    for file, text in files.items():
        assert text.replace("\n", "").isprintable(), file


@pytest.mark.parametrize("name", NASTY)
def test_every_other_format_holds_the_very_name(name: str) -> None:
    check_everywhere(name.strip() or "x")


@settings(max_examples=25)
@given(NAMES)
def test_any_name_is_literal_in_every_format(name: str) -> None:
    check_everywhere(name.strip() or "x")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=1, max_size=12))
def test_any_words_survive_bash(runner: Path, words: list[str]) -> None:
    line = "printf '%s\\0' " + " ".join(shell_word(word) for word in words)
    assert run(line, runner) == words


@settings(max_examples=60, deadline=None)
@given(NAMES)
def test_the_seed_functions_quote_as_well(name: str) -> None:
    config = VLLMConfig(model=name, max_model_len=8192)
    for text in (render_serve_command(config), render_docker_command(config)):
        assert "\n$" not in text
    document = yaml.safe_load(render_docker_compose(config))
    command = document["services"]["vllm"]["command"]
    local = name.startswith((".", "~"))
    assert command[0].replace("$$", "$") == (
        "/model" if local else f"./{name}" if name.startswith("-") else name
    )


@settings(max_examples=60, deadline=None)
@given(NAMES)
def test_profiles_round_trip_any_model(name: str) -> None:
    if not name.strip():
        return
    asked = request(model=name)
    files = render(plan(), asked, ["profile"])
    assert profile_to_request(yaml.safe_load(files["profile.yaml"])) == asked


@given(st.text(max_size=60))
def test_a_comment_stays_a_comment(text: str) -> None:
    assert all(line.startswith("#") for line in comment(text).splitlines())


@given(st.text(max_size=30))
def test_a_code_span_cannot_be_left(text: str) -> None:
    span = markdown_code(text)
    fence = span[: len(span) - len(span.lstrip("`"))]
    assert span.endswith(fence)
    assert fence not in span[len(fence) : -len(fence)].strip("`") or not span.strip("` ")


@given(st.text(max_size=80))
def test_kubernetes_names_are_rfc_1123_labels(text: str) -> None:
    name = kubernetes_name(text)
    assert len(name) <= 63
    assert name.replace("-", "a").isalnum()
    assert name.islower()
    assert name.isascii()
    assert name[0].isalpha()
    assert name[-1] != "-"
    assert name != "vllm"


def test_small_quoting_rules() -> None:
    assert csv_field('a"b,c') == '"a""b,c"'
    assert csv_field("plain") == "plain"
    assert systemd_word("") == '""'
    assert systemd_word("50%$") == "50%%$$"
    assert shell_word("a\nb") == "$'a\\x0ab'"
    assert shell_word("a\u2028'") == "$'a\\xe2\\x80\\xa8\\''"
    assert systemd_word("\u202e") == '"\\u202e"'
