"""`python -m tests.accuracy [--launches FILE] [--configs DIR] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.accuracy import OWN_LAUNCHES
from tests.accuracy.judge import Judgement, judge
from tests.accuracy.models import Models
from tests.accuracy.records import Record, Skipped, read
from tests.accuracy.report import Report, document, lines, report

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def measure(launches: Path, configs: Path | None) -> Report:
    """Every launch of a file, judged or skipped with a reason."""
    judged: list[Judgement] = []
    skipped: list[Skipped] = []
    for item in read(launches, Models(configs)):
        result = judge(item) if isinstance(item, Record) else item
        if isinstance(result, str):
            skipped.append(Skipped(item.id, f"the planner can't describe it: {result}"))
        elif isinstance(result, Skipped):
            skipped.append(result)
        else:
            judged.append(result)
    return report(judged, skipped)


def main(arguments: list[str] | None = None) -> int:
    """Print the report; 1 where a figure that must be reached is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.accuracy", description=__doc__)
    public = SHARED / "truth" / "launches.jsonl"
    parser.add_argument("--launches", type=Path, default=public if public.is_file() else OWN_LAUNCHES)
    parser.add_argument("--configs", type=Path, default=SHARED / "configs", help="ORG/NAME/config.json files")
    parser.add_argument("--json", type=Path, help="write the same, machine-readable")
    options = parser.parse_args(arguments)
    if not options.launches.is_file():
        print(f"No launches at {options.launches}; give a file with --launches.", file=sys.stderr)
        return 2
    found = measure(options.launches, options.configs if options.configs.is_dir() else None)
    print("\n".join(lines(found)))
    if options.json:
        options.json.write_text(json.dumps(document(found), indent=1), encoding="utf-8")
    return 0 if all(goal.reached for goal in found.goals) else 1


if __name__ == "__main__":
    sys.exit(main())
