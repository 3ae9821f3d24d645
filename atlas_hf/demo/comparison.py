"""ATLAS beside sequential fine-tuning on the same stream, from the cells of a benchmark run.

`python -m atlas_hf.demo.comparison runs/benchmark/cells` writes what the demo shows. Without a run there is no file,
and the demo says so.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from atlas_hf.folder import AtlasFormatError, read_json, write_json
from atlas_hf.metrics.continual import Matrix, average_accuracy
from atlas_hf.report.printable import real

FILE = Path(__file__).parent / "comparison.json"
METHODS = {"atlas": "ATLAS", "sequential_ft": "sequential fine-tuning"}
CELL_SCHEMA = 1


@dataclass(frozen=True)
class Result:
    """A method's accuracy matrix, the mean over `seeds` runs."""

    method: str
    seeds: int
    matrix: Matrix


def comparison(stream: str | None, tasks: Sequence[str], path: Path = FILE) -> list[Result]:
    """What the benchmark found for a stream of exactly these tasks in this order; empty if nothing is at hand.

    Raises `AtlasFormatError` if the file is not what `write_comparison` writes.
    """
    if not path.is_file():
        return []
    try:
        orders = [order for order in read_json(path)["orders"] if order["tasks"] == list(tasks)]
        methods = orders[0]["methods"] if orders and read_json(path)["stream"] == stream else {}
        return [
            Result(name, int(found["seeds"]), [[real(value) for value in row] for row in found["matrix"]])
            for name, found in methods.items()
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise AtlasFormatError(f"{path.name} is not what atlas_hf writes ({error}). Write it again.") from error


def average_over_time(matrix: Matrix) -> list[float | None]:
    """After each task, the mean score over the tasks learned until then."""
    return [average_accuracy(matrix[: row + 1]) for row in range(len(matrix))]


def compare(cells: Path) -> dict[str, Any]:
    """The cells of both methods, `<method>/<order>/seed-<s>.json` as the benchmark writes them, averaged over seeds.

    Raises a `ValueError` if a method has no cell, or if the cells do not fit together.
    """
    found = [cell for method in METHODS for cell in _read_cells(cells, method)]
    streams = {cell["stream"] for cell in found}
    if len(streams) > 1:
        raise ValueError(f"The cells in {cells} are of several streams: {sorted(streams)}. Give one run's.")
    orders = sorted({cell["order"] for cell in found})
    return {"format_version": 1, "stream": streams.pop(), "orders": [_order(found, order) for order in orders]}


def _read_cells(cells: Path, method: str) -> Sequence[Mapping[str, Any]]:
    paths = sorted(cells.glob(f"{method}/*/seed-*.json"))
    if not paths:
        raise ValueError(f"There is no cell of {method} in {cells}. Run the benchmark with {list(METHODS)}.")
    read = [read_json(path) for path in paths]
    wrong = [str(path) for path, cell in zip(paths, read, strict=True) if cell.get("schema") != CELL_SCHEMA]
    if wrong:
        raise ValueError(f"{wrong[0]} is no cell of schema {CELL_SCHEMA}. Run the benchmark again.")
    return read


def _order(cells: Sequence[Mapping[str, Any]], order: str) -> dict[str, Any]:
    """Both methods over the seeds that both were run with."""
    chosen = [cell for cell in cells if cell["order"] == order]
    tasks = {tuple(task["name"] for task in cell["tasks"] if task["role"] == "upstream") for cell in chosen}
    settings = {json.dumps(cell["settings"]["sizes"], sort_keys=True) for cell in chosen}
    if len(tasks) > 1 or len(settings) > 1:
        raise ValueError(f"The cells of order {order} differ in tasks or sizes: {tasks}, {settings}. Give one run's.")
    by_method = {name: {cell["seed"]: cell["matrix"] for cell in chosen if cell["method"] == name} for name in METHODS}
    by_method = {name: found for name, found in by_method.items() if found}
    common = set.intersection(*(set(found) for found in by_method.values()))
    methods = {
        name: {"seeds": len(common), "matrix": _mean_matrix([found[seed] for seed in sorted(common)])}
        for name, found in by_method.items()
        if common
    }
    return {"order": order, "tasks": list(tasks.pop()), "methods": methods}


def _mean_matrix(matrices: Sequence[Matrix]) -> Matrix:
    """Cell by cell; None where any of them has none."""
    return [
        [None if None in values else mean(values) for values in zip(*rows, strict=True)]
        for rows in zip(*matrices, strict=True)
    ]


def write_comparison(cells: Path, path: Path = FILE) -> Path:
    """Write what `comparison` reads; a `FileExistsError` if the file is there already."""
    write_json(path, compare(cells))
    return path


if __name__ == "__main__":
    print(write_comparison(*map(Path, sys.argv[1:])))
