"""The measuring tool itself: what it reads out of a record, and that the shipped figures are what it measures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.accuracy_perf.__main__ import held_out, judged, main
from tests.accuracy_perf.fit import solve
from tests.accuracy_perf.models import MeasuredModels
from tests.accuracy_perf.records import Run, Skipped, read, run
from tests.accuracy_perf.report import TARGETS, lines
from wizard.planning.perf_data import constants, perf_file

ROW: dict[str, Any] = {
    "id": "x-1",
    "source": "x",
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "gpu": "H100-SXM-80GB",
    "gpu_count": 1,
    "tp": 1,
    "pp": 1,
    "dp": 1,
    "ep": None,
    "dtype": "bf16",
    "kv_dtype": None,
    "vllm_version": "0.19.0",
    "isl": 1024,
    "osl": 256,
    "dataset": "random",
    "concurrency": 8,
    "request_rate": None,
    "max_num_seqs": None,
    "num_prompts": 80,
    "latency_s": None,
    "output_tok_s": 700.0,
    "tpot_mean_ms": 9.0,
    "ttft_mean_ms": 60.0,
    "note": "",
}


def row(**changes: Any) -> Run | Skipped:
    return run({**ROW, **changes}, MeasuredModels(None))


def read_row(**changes: Any) -> Run:
    found = row(**changes)
    assert isinstance(found, Run), found
    return found


def test_a_closed_loop_is_read_as_one() -> None:
    found = read_row()
    assert (found.kind, found.concurrency, found.requests, found.equal_lengths) == ("closed", 8, 80, True)
    assert found.measured == {"output_tok_s": 700.0, "tpot_ms": 9.0, "ttft_ms": 60.0}
    assert found.version == (0, 19)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"request_rate": 4.0, "concurrency": None}, "open"),
        ({"request_rate": "inf", "concurrency": None}, "burst"),
        ({"num_prompts": 8}, "burst"),
        ({"latency_s": 2.0, "num_prompts": None}, "static"),
    ],
)
def test_traffic_is_told_apart(changes: dict[str, Any], kind: str) -> None:
    assert read_row(**changes).kind == kind


def test_figures_that_are_not_given_follow_from_others() -> None:
    assert read_row(output_tok_s=None, latency_s=2.0).measured["output_tok_s"] == pytest.approx(256 * 8 / 2)
    assert read_row(output_tok_s=None, total_tok_s=500.0).measured["output_tok_s"] == pytest.approx(100)


def test_a_dtype_is_put_on_the_shapes_of_the_base_model() -> None:
    found = read_row(model="someone/Llama-3.1-8B-finetune-AWQ", dtype="awq-int4")
    assert found.metadata.quantization_config is not None
    assert found.metadata.num_layers == 32


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gpu": "MI250"}, "MI250"),
        ({"osl": 4}, "fewer than 16"),
        ({"gpu": "Imaginary-9000"}, "not in the catalogue"),
        ({"model": "nobody/unheard-of"}, "no shapes"),
        ({"output_tok_s": None, "tpot_mean_ms": None, "ttft_mean_ms": None}, "no figure"),
    ],
)
def test_what_cannot_be_judged_says_why(changes: dict[str, Any], reason: str) -> None:
    found = row(**changes)
    assert isinstance(found, Skipped)
    assert reason in found.reason


def test_linear_systems_are_solved() -> None:
    assert solve([[0.0, 2.0], [4.0, 1.0]], [2.0, 9.0]) == pytest.approx([2.0, 1.0])


def test_any_file_of_the_form_can_be_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records, written = tmp_path / "runs.jsonl", tmp_path / "out.json"
    records.write_text(
        "\n".join(json.dumps({**ROW, "id": str(users), "concurrency": users}) for users in (1, 8, 64))
    )
    assert main(["--records", str(records), "--json", str(written)]) == 0
    assert "3 of 3 rows" in capsys.readouterr().out
    (line,) = [
        each
        for each in json.loads(written.read_text())["shipped constants"]["all"]
        if each["figure"] == "tpot_ms"
    ]
    assert line["rows"] == 3


def test_a_missing_file_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--records", str(tmp_path / "none")]) == 2
    assert "is not there" in capsys.readouterr().err


@pytest.fixture(scope="module")
def runs(shared: Path) -> list[Run]:
    found = read(shared / "perf" / "records.jsonl", MeasuredModels(shared / "configs"))
    return [each for each in found if isinstance(each, Run)]


def test_held_out_errors_reach_the_targets(runs: list[Run]) -> None:
    """Whole groups of (source, model, GPU, dtype), predicted by constants that never saw them."""
    for line in lines(judged(runs, held_out(runs))):
        assert line.median < TARGETS[line.figure], line
        assert 0.75 <= line.coverage <= 0.90, line


def test_the_shipped_file_says_how_wrong_it_was(runs: list[Run]) -> None:
    told = perf_file()["held_out"]
    for line in lines(judged(runs, held_out(runs))):
        assert line.median == pytest.approx(told[line.figure]["median_error"], abs=0.02)


def test_no_group_is_in_two_folds(runs: list[Run]) -> None:
    constants_of: Callable[[Run], Any] = held_out(runs)
    by_group: dict[tuple[str, ...], set[int]] = {}
    for each in runs:
        found = constants_of(each)
        assert found is not constants(), each.group
        by_group.setdefault(each.group, set()).add(id(found))
    assert all(len(folds) == 1 for folds in by_group.values())
