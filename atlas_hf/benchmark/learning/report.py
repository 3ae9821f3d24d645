"""The report of a benchmark, from its cells alone: `report.md` (a template lies beside this file), CSV, pictures."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value
from jinja2 import Environment, StrictUndefined

from atlas_hf.benchmark.learning import pictures, tables
from atlas_hf.benchmark.learning.cells import Cell, read_cells
from atlas_hf.benchmark.learning.claims import SUBJECTS, claims
from atlas_hf.benchmark.learning.new_tasks import controls, new_tasks
from atlas_hf.benchmark.learning.scores import Results
from atlas_hf.benchmark.methods import METHODS
from atlas_hf.folder import NEW_TASKS, REPORT_FILES, Owned
from atlas_hf.hub import Retry, until_done

TEMPLATE = Path(__file__).with_name("report.md")


def write_report(output: Path) -> Path:
    """Write everything into the folder of the cells; the path of `report.md`.

    Raises `CellError` if there are none, and a `ValueError` if files of others are in the way.
    """
    Owned(output).check([output / name for name in REPORT_FILES])
    path, results = output / TEMPLATE.name, Results(read_cells(output))
    found, settings = claims(results), results.cells[0].settings
    _write_csv(output / "figures.csv", results.long())
    _write_csv(output / "paired_tests.csv", tables.pairs(results))
    _write_csv(output / NEW_TASKS, (one.flat() for order in results.orders for one in new_tasks(results, order)))
    for claim in found:
        _write_csv(output / f"claim_{claim.letter}.csv", claim.rows)
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        results=results, claims=found, settings=settings, missing=results.missing(), subjects=SUBJECTS, tables=tables,
        controls=controls(results),
        sizes={name.removesuffix("_size"): size for name, size in settings["sizes"].items()},
        minutes=sum(cell.cost["cell_seconds"] for cell in results.cells) / 60,
        summaries={name: METHODS[name].summary for name in results.methods if name in METHODS},
        drawn=pictures.draw(results, output),
    )  # fmt: skip
    with Owned(output).replacing(path) as temporary:
        temporary.write_text(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", encoding="utf-8")
    return path


def push(cells: Sequence[Cell], repo_id: str) -> str:
    """Push `Results.long` as the split `train` of a data set repository, made if it is missing; the commit's address.

    Raises a `HubError` if that cannot be done, `HubUnavailableError` after many tries.
    """
    rows = list(Results(cells).long())
    types = dict.fromkeys(rows[0], Value("string")) | {"seed": Value("int64"), "value": Value("float64")}
    dataset = Dataset.from_list(rows, features=Features(types))
    send = partial(dataset.push_to_hub, repo_id, commit_message="Benchmark results")
    return until_done(lambda: send().commit_url, f"push the results to {repo_id}", Retry())


def _write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows with the same keys; no file, and none left from an earlier report, if there are no rows."""
    rows = list(rows)
    if not rows:
        Owned(path.parent).remove(path)
        return
    with Owned(path.parent).replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
