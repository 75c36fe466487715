"""`python -m tests.accuracy_perf [--records FILE] [--json FILE] [--refit | --ranges]`

Without a file: the records beside the repository, each row predicted with constants that were fitted without
its (source, model, GPU, dtype) group, and with the shipped ones. With a file: the shipped constants.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.accuracy_perf import refit
from tests.accuracy_perf.forecast import forecast
from tests.accuracy_perf.models import MeasuredModels
from tests.accuracy_perf.records import Run, Skipped, read
from tests.accuracy_perf.report import SLICES, TARGETS, Judged, Line, judge, lines, text
from wizard.planning.perf_data import constants

SHARED = Path(__file__).resolve().parents[3] / "shared"
FOLDS_FILE = Path(__file__).parent / "folds.json"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.accuracy_perf", description=__doc__)
    parser.add_argument("--records", type=Path, help="measured runs, one JSON object per line")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument(
        "--refit", action="store_true", help="fit the constants anew and write them (minutes)"
    )
    parser.add_argument("--ranges", action="store_true", help="write the ranges anew, constants as they are")
    chosen = parser.parse_args(arguments)
    path = chosen.records or SHARED / "perf" / "records.jsonl"
    if not path.is_file():
        print(f"{path} is not there; give --records FILE.", file=sys.stderr)
        return 0 if chosen.records is None else 2
    found = list(read(path, MeasuredModels(SHARED / "configs" if SHARED.is_dir() else None)))
    runs = [item for item in found if isinstance(item, Run)]
    if not runs:
        print(f"{path} has no run that can be judged.", file=sys.stderr)
        return 2
    if chosen.refit:
        refit.refit(runs, FOLDS_FILE)
    elif chosen.ranges:
        refit.ranges_only(runs, FOLDS_FILE)
    print(f"{len(runs)} of {len(found)} rows of {path.name} are judged; left out:")
    for reason, count in Counter(item.reason for item in found if isinstance(item, Skipped)).most_common():
        print(f"  {count:4d}  {reason}")
    tables: dict[str, list[Judged]] = {}
    if chosen.records is None:
        tables["held out: constants fitted without the row's group"] = judged(runs, held_out(runs))
    tables["shipped constants"] = judged(runs, lambda run: constants())
    document: dict[str, dict[str, list[dict[str, object]]]] = {}
    for title, items in tables.items():
        parts: dict[str, list[Line]] = {"all": lines(items)}
        parts |= {by: lines(items, by) for by in SLICES}
        document[title] = {name: [asdict(line) for line in table] for name, table in parts.items()}
        shown = parts if title == next(iter(tables)) else {"all": parts["all"]}
        for name, table in shown.items():
            print("\n" + text(f"{title}, {'all runs' if name == 'all' else 'by ' + name}", table))
    print(
        "\nto reach on runs kept aside: "
        + ", ".join(f"{name} {target:.0%}" for name, target in TARGETS.items())
    )
    if chosen.json:
        chosen.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return 0


def judged(runs: Sequence[Run], constants_of: Callable[[Run], Mapping[str, float]]) -> list[Judged]:
    """Every figure of every run, forecast with the constants that `constants_of` gives for it."""
    return [item for run in runs for item in judge(run, *forecast(run, constants_of(run)))]


def held_out(runs: Sequence[Run]) -> Callable[[Run], Mapping[str, float]]:
    """For each run, the constants of the fold that its group was left out of."""
    parts = json.loads(FOLDS_FILE.read_text(encoding="utf-8"))["folds"]
    known = {tuple(group): part["constants"] for part in parts for group in part["groups"]}
    return lambda run: known.get(run.group, constants())


if __name__ == "__main__":
    sys.exit(main())
