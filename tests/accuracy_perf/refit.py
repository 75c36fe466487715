"""Fits the constants and the ranges anew, and writes them where they ship."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.accuracy_perf.fit import fit, folds
from tests.accuracy_perf.forecast import forecast
from tests.accuracy_perf.records import Run
from tests.accuracy_perf.report import Judged, judge, lines, load_of
from wizard.planning import perf_data
from wizard.planning.perf_data import FIGURES, band_key, perf_file

PERF_FILE = Path(perf_data.__file__).resolve().parents[1] / "data" / "perf.json"

FEWEST = 25
"""Rows below which a range is taken from lighter and heavier loads together."""

OUTSIDE = 0.09
"""Share of held-out runs below, and above, a range: on runs of other clients and versions more fall outside, and
8 of 10 shall stay in."""

WIDEST = 3.0
"""No range says more than this factor: beyond, the runs did something else (compiling while measured)."""

LEAST_COVERED = 0.78
"""Share of a slice's held-out runs that must lie in the range before it gets one of its own."""

WIDEST_SLICE = 5.0
"""The same for a slice that is known to scatter."""

_runs: list[Run] = []


def refit(runs: Sequence[Run], folds_file: Path) -> None:
    """Writes `data/perf.json` and the constants of every fold."""
    _runs[:] = runs
    parts = folds(runs, lambda run: run.group)
    members = [{id(run) for run in part} for part in parts]
    kept = [[index for index, run in enumerate(runs) if id(run) not in part] for part in members]
    with ProcessPoolExecutor(
        max_workers=2, mp_context=get_context("fork")
    ) as pool:  # workers inherit the runs
        everything = pool.submit(_fit_indices, list(range(len(runs))))
        fitted = list(pool.map(_fit_indices, kept))
        shipped = everything.result()
    _write_folds(folds_file, parts, fitted)
    data: dict[str, Any] = dict(perf_file())
    for name, entry in data["constants"].items():
        entry["value"] = shipped[name]
    write_ranges(data, parts, fitted)
    measured = Counter((run.gpu.catalogue_name or run.gpu.name, run.metadata.text_type) for run in runs)
    data["measured"] = [[gpu, family, count] for (gpu, family), count in sorted(measured.items())]
    data["held_out"] = held_out_errors(parts, fitted)
    PERF_FILE.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    for remembered in (perf_file, perf_data.constants, perf_data.neighbours):
        remembered.cache_clear()


def ranges_only(runs: Sequence[Run], folds_file: Path) -> None:
    """Writes the ranges anew from the constants of every fold as they are."""
    folds_known = json.loads(folds_file.read_text(encoding="utf-8"))["folds"]
    parts: list[list[Run]] = []
    for fold in folds_known:
        groups = {tuple(group) for group in fold["groups"]}
        parts.append([run for run in runs if run.group in groups])
    data: dict[str, Any] = dict(perf_file())
    write_ranges(data, parts, [fold["constants"] for fold in folds_known])
    PERF_FILE.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    perf_file.cache_clear()


def write_ranges(
    data: dict[str, Any], parts: Sequence[Sequence[Run]], fitted: Sequence[Mapping[str, float]]
) -> None:
    """The ranges by class and load, then those of GPUs and model families that scatter more."""
    data["bands"] = bands(parts, fitted)
    data["scattered"] = {figure: {} for figure in FIGURES}
    PERF_FILE.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    perf_file.cache_clear()
    data["scattered"] = scattered(parts, fitted)


def scattered(
    parts: Sequence[Sequence[Run]], fitted: Sequence[Mapping[str, float]]
) -> dict[str, dict[str, list[float]]]:
    """Ranges of those slices of held-out runs of which fewer than `LEAST_COVERED` lie in the range of their class."""
    slices: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for part, constants in zip(parts, fitted, strict=True):
        for run in part:
            predicted, served = forecast(run, constants)
            for item in judge(run, predicted, served):
                for name in (
                    f"gpu {run.gpu.catalogue_name or run.gpu.name}",
                    f"family {run.metadata.text_type}",
                ):
                    slices[(item.figure, name)].append(item)
    found: dict[str, dict[str, list[float]]] = {figure: {} for figure in FIGURES}
    for (figure, name), items in sorted(slices.items()):
        if len(items) < FEWEST or sum(item.covered for item in items) >= LEAST_COVERED * len(items):
            continue
        found[figure][name] = _range([item.measured / item.predicted for item in items], WIDEST_SLICE)
    return found


def _fit_indices(indices: Sequence[int]) -> dict[str, float]:
    return fit([_runs[index] for index in indices])


def _write_folds(path: Path, parts: Sequence[Sequence[Run]], fitted: Sequence[Mapping[str, float]]) -> None:
    document = {
        "about": "Constants fitted without the groups (source, model, GPU, dtype) of each fold.",
        "folds": [
            {"groups": sorted({run.group for run in part}), "constants": constants}
            for part, constants in zip(parts, fitted, strict=True)
        ],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def held_out_errors(
    parts: Sequence[Sequence[Run]], fitted: Sequence[Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """What the forecast's docstring promises: errors of rows whose group the constants have not seen."""
    items = [
        item
        for part, constants in zip(parts, fitted, strict=True)
        for run in part
        for item in judge(run, *forecast(run, constants))
    ]
    return {
        line.figure: {
            "rows": line.rows,
            "groups": line.groups,
            "median_error": round(line.median, 3),
            "p90_error": round(line.p90, 3),
            "median_error_of_groups": round(line.group_median, 3),
        }
        for line in lines(items)
    }


def bands(
    parts: Sequence[Sequence[Run]], fitted: Sequence[Mapping[str, float]]
) -> dict[str, dict[str, list[float]]]:
    """Measured over predicted of held-out runs, but for the tails, per figure and kind."""
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for part, constants in zip(parts, fitted, strict=True):
        for run in part:
            predicted, served = forecast(run, constants)
            for figure, measured in run.measured.items():
                if figure == "output_tok_s" and run.kind == "open":
                    continue  # what arrives is what is served: no test of the forecast
                ratios[(figure, band_key(run.family, heavy=load_of(served) >= 0.5))].append(
                    measured / predicted[figure]
                )
    result: dict[str, dict[str, list[float]]] = {figure: {} for figure in FIGURES}
    for figure in FIGURES:
        for klass in ("datacenter", "card"):
            loads = {load: ratios[(figure, f"{klass}.{load}")] for load in ("light", "heavy")}
            together = loads["light"] + loads["heavy"]
            for load, values in loads.items():
                result[figure][f"{klass}.{load}"] = _range(values if len(values) >= FEWEST else together)
    return result


def _range(values: Sequence[float], widest: float = WIDEST) -> list[float]:
    ordered = sorted(values)
    low, high = (
        ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (OUTSIDE, 1 - OUTSIDE)
    )
    return [round(max(low, 1 / widest), 3), round(min(high, widest), 3)]
