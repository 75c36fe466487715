"""Constants from measured runs: robust Gauss-Newton on log errors, with a ridge towards the priors.

A group (source, model, GPU, dtype) weighs as the square root of its rows, so that one file with hundreds of
rows doesn't decide alone. Plain Python, because nothing else of the project needs a numerical library.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

from tests.accuracy_perf.forecast import forecast
from tests.accuracy_perf.records import Run
from wizard.planning.perf_data import FIGURES, perf_file

WEIGHTS = {"tpot_ms": 1.0, "ttft_ms": 0.6, "output_tok_s": 0.8}
"""How much a figure's log error counts; the time to first token holds most that isn't the engine's."""

LARGEST = math.log(8)
"""Log errors are cut here: beyond, the run did something else."""

ROBUST = 0.12
"""Log error from which on a row pulls linearly, not by its square."""

RIDGE = 0.2
"""Pull towards the priors, chosen by grouped cross-validation among 0.05, 0.1, 0.2, 0.25 and 1."""

STEP = 0.02
ITERATIONS = 6
FOLDS = 5

Vector = list[float]


def fitted_names() -> list[str]:
    """Constants that measured runs may move: those with a spread."""
    return [name for name, entry in perf_file()["constants"].items() if entry["spread"]]


def priors() -> dict[str, float]:
    return {name: float(entry["prior"]) for name, entry in perf_file()["constants"].items()}


def row_weights(runs: Sequence[Run]) -> dict[tuple[int, str], float]:
    """A row's weight on its log error, by run and figure."""
    sizes = Counter((run.group, figure) for run in runs for figure in run.measured)
    return {
        (id(run), figure): WEIGHTS[figure] * sizes[(run.group, figure)] ** -0.25
        for run in runs
        for figure in run.measured
    }


def log_errors(
    runs: Sequence[Run], constants: Mapping[str, float], weights: Mapping[tuple[int, str], float]
) -> Vector:
    """Weighted log(predicted / measured) of every row and figure."""
    errors = []
    for run in runs:
        predicted, _ = forecast(run, constants)
        for figure in FIGURES:
            if figure in run.measured:
                error = math.log(predicted[figure] / run.measured[figure])
                errors.append(weights[(id(run), figure)] * max(-LARGEST, min(LARGEST, error)))
    return errors


def fit(runs: Sequence[Run], say: Callable[[str], None] = lambda text: None) -> dict[str, float]:
    """The constants that predict `runs` best, given the priors."""
    names, start = fitted_names(), priors()
    spreads = [float(perf_file()["constants"][name]["spread"]) for name in names]
    weights = row_weights(runs)

    def moved(shifts: Vector) -> dict[str, float]:
        return start | {
            name: start[name] * math.exp(shift) for name, shift in zip(names, shifts, strict=True)
        }

    def cost(errors: Vector, shifts: Vector) -> float:
        misfit = 2 * ROBUST * sum(math.sqrt(1 + (error / ROBUST) ** 2) - 1 for error in errors)
        return misfit + RIDGE * sum(
            (shift / spread) ** 2 for shift, spread in zip(shifts, spreads, strict=True)
        )

    shifts = [0.0] * len(names)
    errors = log_errors(runs, moved(shifts), weights)
    best = cost(errors, shifts)
    for iteration in range(ITERATIONS):
        columns = []
        for index in range(len(names)):
            nudged = shifts.copy()
            nudged[index] += STEP
            columns.append(
                [
                    (new - old) / STEP
                    for new, old in zip(log_errors(runs, moved(nudged), weights), errors, strict=True)
                ]
            )
        pull = [1 / math.sqrt(1 + (error / ROBUST) ** 2) / ROBUST for error in errors]
        normal = [
            [sum(w * a * b for w, a, b in zip(pull, left, right, strict=True)) for right in columns]
            for left in columns
        ]
        slope = [
            -sum(w * a * error for w, a, error in zip(pull, column, errors, strict=True))
            for column in columns
        ]
        for index, spread in enumerate(spreads):
            normal[index][index] += RIDGE / spread**2
            slope[index] -= RIDGE * shifts[index] / spread**2
        improved = False
        for damping in (0.0, 0.3, 1.0, 4.0, 16.0):
            damped = [
                [value * (1 + damping) if row == column else value for column, value in enumerate(line)]
                for row, line in enumerate(normal)
            ]
            change = [max(-0.5, min(0.5, value)) for value in solve(damped, slope)]
            tried = [shift + value for shift, value in zip(shifts, change, strict=True)]
            tried_errors = log_errors(runs, moved(tried), weights)
            if cost(tried_errors, tried) < best:
                shifts, errors, best, improved = tried, tried_errors, cost(tried_errors, tried), True
                break
        say(f"iteration {iteration + 1}: {best:.3f}")
        if not improved or max(map(abs, change)) < 0.01:
            break
    return {name: float(f"{value:.4g}") for name, value in moved(shifts).items()}


def solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> Vector:
    """A linear system by elimination with pivoting."""
    size = len(right)
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(column + 1, size):
            factor = rows[row][column] / rows[column][column]
            if factor:
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    result = [0.0] * size
    for row in range(size - 1, -1, -1):
        known = sum(rows[row][column] * result[column] for column in range(row + 1, size))
        result[row] = (rows[row][size] - known) / rows[row][row]
    return result


def folds(runs: Sequence[Run], key: Callable[[Run], Hashable]) -> list[list[Run]]:
    """Whole groups dealt to FOLDS parts, the same way every time."""
    groups = sorted({key(run) for run in runs}, key=str)
    random.Random(0).shuffle(groups)
    part = {group: index % FOLDS for index, group in enumerate(groups)}
    return [[run for run in runs if part[key(run)] == index] for index in range(FOLDS)]
