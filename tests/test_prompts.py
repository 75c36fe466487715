"""The plain wizard asks the same questions, gives the same verdicts and writes the same files."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from tests.drafting import DRAFT, Counting, drafting, tells_uncounted
from tests.tui.fake_engine import FakeEngine, two_h100
from wizard.answers import shown
from wizard.asking import LineAsker, QuestionaryAsker, moves_cursor
from wizard.engine import Engine, ModelRow, Planner, Progress
from wizard.models.metadata import ModelMetadata
from wizard.prompts import INTERRUPTED, PlainWizard
from wizard.questions import QUESTIONS, STEPS
from wizard.run import run_plan
from wizard.schemas.inputs import HardwareInput, ModelInput, PlanRequest, PolicyInput, WorkloadInput
from wizard.session import SessionStore
from wizard.text import Charset
from wizard.wording import first_request

Answer = str | Callable[[list[str]], str]


class Script:
    """Answers by the words of the option, as a person reading aloud would choose."""

    def __init__(self, answers: Iterable[str]) -> None:
        self.answers: Iterator[str] = iter(answers)
        self.said: list[str] = []

    def read(self) -> str:
        try:
            wanted = next(self.answers)
        except StopIteration:
            raise EOFError from None
        if not wanted.startswith("#"):
            return wanted
        for line in reversed(self.said):
            number, _, words = line.strip().partition(". ")
            if number.isdecimal() and wanted[1:] in words:
                return number
        raise AssertionError(f"no option {wanted!r} in:\n" + "\n".join(self.said[-20:]))

    @property
    def text(self) -> str:
        return "\n".join(self.said)


def played(
    *answers: str,
    engine: Engine | None = None,
    request: PlanRequest | None = None,
    letters: Charset = "unicode",
    store: SessionStore | None = None,
) -> tuple[int, Script, PlainWizard]:
    """One run over numbered lines."""
    script = Script(answers)
    asker = LineAsker(letters, read=script.read, write=script.said.append)
    wizard = PlainWizard(engine or FakeEngine(), asker, store=store)
    return wizard.run(request, fresh=False), script, wizard


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_enter_alone_goes_through_all_steps_and_writes(tmp_path: Path) -> None:
    status, script, _ = played("", "", "", "", "")
    assert status == 0
    assert script.text.count("(default)") == 5  # Enter never means what isn't listed
    for number, (_, title) in enumerate(STEPS, 1):
        assert f"{number} of 5: {title}" in script.text
    written = tmp_path / "llama-3-1-8b-instruct"
    assert (written / "serve.sh").read_text().startswith("#!/usr/bin/env bash")
    assert "&& ./serve.sh" in script.text


def test_every_question_of_the_screens_is_asked_with_its_default() -> None:
    _, script, _ = played("", "", "", "")
    request = first_request()
    for asked in QUESTIONS:
        if asked.only_option or asked.key in {"model.model", "hardware.gpu"}:
            continue
        part, name = asked.key.split(".")
        assert f"{asked.title}: {shown(asked, getattr(getattr(request, part), name))}" in script.text


def test_the_same_answers_make_the_same_plan_and_files() -> None:
    engine = FakeEngine()
    _, script, wizard = played(
        "", "#GPUs: all", "2", "", "#Concurrency:", "64", "#Prompt:", "4k", engine=engine
    )
    request = wizard.draft.request
    assert (request.hardware.gpus, request.workload.concurrency, request.workload.prompt_tokens) == (
        2,
        64,
        4096,
    )
    plan = wizard.draft.plan()
    assert plan is not None
    assert f"{plan.feasibility.kv_cache.tokens:,} tokens in the cache" in script.text


def test_what_the_plan_recommends_is_said_with_its_number() -> None:
    _, script, _ = played("", "", "", "", engine=FakeEngine(two_h100()))
    for words in ("Context: recommended (16,384)", "Utilisation: recommended (0.92)", "GPUs: all (2)"):
        assert words in script.text
    assert "Tensor par.: recommended (2)" in script.text


def test_permissions_are_asked_as_permissions() -> None:
    _, script, _ = played("", "", "", "#Allow quantised: yes", "#no")
    assert "Allow quantised: no" in script.text
    assert "Allow remote code: no" in script.text


def test_this_machines_gpus_are_chosen_one_by_one() -> None:
    _, script, wizard = played(
        "", "#Which of them: 0, 1", "#[x] 0", "#[x] 1", "", engine=FakeEngine(two_h100())
    )
    assert wizard.draft.request.hardware.device_ids == ("1",)
    assert "At least one GPU stays chosen." in script.text
    assert "on 1 × H100 SXM5 80GB" in script.text


def test_what_was_undone_can_be_redone() -> None:
    _, script, wizard = played("", "", "#Concurrency:", "50", "#Undo", "#Redo")
    assert "Redone: Concurrency." in script.text
    assert wizard.draft.request.workload.concurrency == 50


@pytest.mark.parametrize("columns", [50, 80])
def test_lines_are_broken_between_words(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    _, script, _ = played("", "", "#Preset", "", "", "")
    assert max(len(line) for line in script.said if " " in line.strip()) < columns
    assert "completion and review in editors" in " ".join(script.text.split())


def test_a_long_search_says_how_much_of_it_is_shown() -> None:
    engine = FakeEngine()
    engine.extra = tuple(ModelRow(f"org/many-{number}", "catalogue") for number in range(35))
    _, script, _ = played("#Model:", "many", engine=engine)
    assert "The first 20 of 35 found" in script.text


@pytest.mark.parametrize(
    ("term", "able"),
    [
        ("dumb", False),
        ("", False),
        ("unknown", False),
        ("xterm-256color", True),
        ("vt100", True),
        ("no-such", True),
    ],
)
def test_a_terminal_moves_its_cursor_or_not(term: str, able: bool) -> None:
    assert moves_cursor(term) is able


def test_a_wrong_answer_is_one_sentence_and_asked_again() -> None:
    _, script, wizard = played("", "", "#Concurrency:", "lots", "-1", "12")
    assert "Concurrency: type a number between 1 and 1,048,576." in script.text
    assert wizard.draft.request.workload.concurrency == 12


def test_a_number_that_names_no_option_is_asked_again() -> None:
    _, script, _ = played("99", "x", "")
    assert "Type a number from 1 to" in script.text
    assert "2 of 5" in script.text


def test_what_will_not_start_is_said_fixed_undone_and_not_written(tmp_path: Path) -> None:
    request = PlanRequest(model=ModelInput(model="meta-llama/Llama-3.3-70B-Instruct"))
    _, script, wizard = played(
        "",
        "",
        "",
        "",
        "#Write the files",
        "#Show what would help",
        "#8-bit weights on load",
        "#Undo",
        request=request,
    )
    assert "✗ Won't start" in script.text
    assert "No available memory for the cache blocks." in " ".join(script.text.split())
    assert "Not written" in script.text
    assert not list(tmp_path.iterdir())
    assert "Undone: 8-bit weights on load." in script.text
    assert wizard.draft.request.model.quantization is None


def test_a_model_is_found_by_words_with_its_verdict() -> None:
    _, script, wizard = played("#Model:", "deepseek", "#deepseek-ai/DeepSeek-R1")
    assert "✗ deepseek-ai/DeepSeek-R1 (won't start, catalogue)" in script.text
    assert wizard.draft.request.model.model == "deepseek-ai/DeepSeek-R1"


def test_an_unknown_model_is_one_sentence() -> None:
    _, script, _ = played("#Model:", "no/such", "#no/such")
    assert "No plan yet: no/such is in no place that this test knows; choose another." in script.text


def test_a_gpu_is_found_by_words() -> None:
    _, _, wizard = played("", "#GPU:", "4090", "#GeForce RTX 4090")
    assert wizard.draft.request.hardware.gpu == "GeForce RTX 4090"


def test_this_machines_gpus_are_taken_where_there_are_some() -> None:
    _, script, _ = played(engine=FakeEngine(two_h100()))
    assert "on 2 × H100 SXM5 80GB" in script.text


def test_files_with_other_contents_are_kept_unless_asked(tmp_path: Path) -> None:
    directory = tmp_path / "llama-3-1-8b-instruct"
    directory.mkdir()
    (directory / "serve.sh").write_text("mine")
    _, script, _ = played("", "", "", "", "#Write the files", "#Keep them")
    assert "-mine" in script.text
    assert (directory / "serve.sh").read_text() == "mine"
    played("", "", "", "", "#Write the files", "#Replace them")
    assert (directory / "serve.sh").read_text() != "mine"


def test_a_plain_ascii_terminal_gets_plain_ascii() -> None:
    _, script, _ = played("", "", "", "", letters="ascii")
    assert script.text.isascii()


def test_the_end_of_input_keeps_the_answers(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "state")
    status, script, _ = played("", "", "#Concurrency:", "50", store=store)
    assert status == INTERRUPTED
    assert "Your answers are kept" in script.text
    _, script, wizard = played("#Continue", store=SessionStore(tmp_path / "state"))
    assert wizard.draft.request.workload.concurrency == 50
    assert "3 of 5: Workload" in script.text


def test_questionary_asks_where_the_cursor_can_move() -> None:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("\r" + "\r" + "\x1b[B" * 3 + "\r" + "\x15" + "64\r" + "\x03")
        wizard = PlainWizard(FakeEngine(), QuestionaryAsker("unicode"))
        assert wizard.run(None, fresh=True) == INTERRUPTED
    assert wizard.draft.request.workload.gen_tokens == 64


def test_every_file_is_offered_and_the_address_asked(tmp_path: Path) -> None:
    _, script, wizard = played(
        "", "", "", "", "#Files:", "#[ ] kubernetes.yaml", "", "#Listen on:", "no way!", "0.0.0.0", "#Port:", "9000",
        "#Write the files",
    )  # fmt: skip
    assert (tmp_path / "llama-3-1-8b-instruct" / "kubernetes.yaml").is_file()
    assert wizard.draft.request.serving.host == "0.0.0.0"
    assert wizard.draft.request.serving.port == 9000
    assert "write an address of this machine" in script.text


class TestDrafts:
    """A model that drafts, named by the extra flags."""

    def test_it_is_counted_as_plan_counts_it_and_read_once(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(DRAFT))
        asked, engine = drafting(str(tmp_path)), Counting(offline=True)
        _, script, wizard = played("", "", "#Concurrency:", "64", "", "", engine=engine, request=asked)
        plan = wizard.draft.plan()
        assert plan is not None
        assert not tells_uncounted(plan)
        assert plan.feasibility == run_plan(wizard.draft.request, offline=True).feasibility
        assert engine.looks == [str(tmp_path)]
        assert " ".join(script.text.split()).count("which drafts …") == 1

    def test_an_unknown_one_is_a_warning_of_the_plan(self) -> None:
        engine = Counting(offline=True)
        _, _, wizard = played("", "", "", "", engine=engine, request=drafting("org/nowhere"))
        plan = wizard.draft.plan()
        assert plan is not None
        assert not wizard.draft.trouble
        assert tells_uncounted(plan)
        assert engine.looks == ["org/nowhere"]


class Interrupted(FakeEngine):
    """A hub that sends nothing; the user presses Ctrl-C meanwhile."""

    def knows_better(self, metadata: ModelMetadata) -> bool:
        return True

    def load_model(self, model: str, revision: str | None, progress: Progress | None = None) -> ModelMetadata:
        if progress is not None:
            raise KeyboardInterrupt
        return super().load_model(model, revision)

    def search_hub(self, text: str, progress: Progress | None = None) -> Sequence[ModelRow]:
        raise KeyboardInterrupt


def test_ctrl_c_stops_asking_the_hub_and_not_the_wizard() -> None:
    status, script, wizard = played("#Model", "qwen", "#Keep", "", "", "", "", "", engine=Interrupted())
    assert status == 0
    assert "Stopped asking the hub; the catalogue's facts are taken." in script.text
    assert "Stopped asking the hub; these are the models known here." in script.text
    assert wizard.draft.plan() is not None


def test_lines_have_the_hubs_facts_as_the_screens_have() -> None:
    engine = FakeEngine()
    engine.slow_hub = threading.Event()
    engine.slow_hub.set()
    _, script, wizard = played("", engine=engine)
    assert "Reading the facts of meta-llama/Llama-3.1-8B-Instruct …" in script.text
    assert wizard.draft.plan() is not None
    engine.hub_fails = True
    _, script, wizard = played("", engine=engine)
    assert "status 503; try again. The catalogue's facts are taken." in " ".join(script.text.split())
    assert wizard.draft.plan() is not None


def test_what_to_watch_out_for_is_said() -> None:
    request = PlanRequest(
        model=ModelInput(model="Qwen/Qwen3-32B"),
        hardware=HardwareInput(gpu="H100 SXM5 80GB"),
        workload=WorkloadInput(prompt_tokens=8000, concurrency=100),
        policy=PolicyInput(allow_quantized=False),
    )
    _, script, _ = played("", engine=Planner(offline=True), request=request)
    assert "Watch out: The cache holds 9.3 of 100 requests at once" in " ".join(script.text.split())
