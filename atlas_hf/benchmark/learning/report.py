"""The report of a benchmark: `report.md`, tables as CSV, and pictures, drawn from the cells of a folder alone.

And its figures as a data set on the Hub.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value

from atlas_hf.benchmark.learning import pictures, tables
from atlas_hf.benchmark.learning.cells import Cell, read_cells
from atlas_hf.benchmark.learning.claims import SUBJECTS, claims
from atlas_hf.benchmark.learning.scores import Results
from atlas_hf.benchmark.methods import METHODS
from atlas_hf.folder import replacing
from atlas_hf.hub.retry import Retry, until_done

REPORT, FIGURES, PAIRS = "report.md", "figures.csv", "paired_tests.csv"
_READING = """Scores are in points, 0 to 100; ± is the standard deviation over seeds unless said. *average accuracy*:
mean over the upstream tasks after the last one. *new, n*: mean over the upstream tasks but the first, each learned
from n examples after all tasks before it. *downstream, n*: the same of the downstream tasks, each after all upstream
tasks. *trained*: parameters that the last upstream task trained; *stored*: what is kept beside the bare backbone for
all upstream tasks. *memory*: largest resident memory of the process, libraries and data included. A method whose
tasks know nothing of one another has the same scores in every order, but for the choice of the first task."""


def write_report(output: Path) -> Path:
    """Write everything into the folder of the cells; the path of `report.md`.

    Missing cells are listed, and figures that need them are left empty. Raises `CellError` if there are no cells.
    """
    results = Results(read_cells(output))
    found = claims(results)
    _write_csv(output / FIGURES, results.long())
    _write_csv(output / PAIRS, tables.pairs(results))
    for claim in found:
        _write_csv(output / f"claim_{claim.letter}.csv", claim.rows)
    drawn = pictures.draw(results, output)
    parts = [f"# Benchmark on the {results.cells[0].stream} stream", _setup(results), _missing(results), _READING]
    for order in results.orders:
        parts += [f"## Results, order {order}", tables.main_table(results, order), *_pairs(results, order)]
    parts += [f"![{caption}]({name})\n\n{caption}." for name, caption in drawn.items()]
    parts.append("## Claims of the paper")
    for claim in found:
        title = f"### ({claim.letter}) {claim.text}\n\n**{claim.verdict}** (a comparison counts if {claim.rule})."
        parts += [title, tables.claim_table(claim)]
    parts += [part for order in results.orders for part in _details(results, order)]
    with replacing(output / REPORT) as temporary:
        temporary.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return output / REPORT


def push(cells: Sequence[Cell], repo_id: str) -> str:
    """Push one row per cell and figure (see `Results.long`; null where a cell has no such figure) as the split `train`
    of a data set repository, made if it is not there; the commit's address.

    Raises a `HubError` if that cannot be done, `HubUnavailableError` after many tries.
    """
    rows = list(Results(cells).long())
    types = dict.fromkeys(rows[0], Value("string")) | {"seed": Value("int64"), "value": Value("float64")}
    dataset = Dataset.from_list(rows, features=Features(types))
    pushed = until_done(
        lambda: dataset.push_to_hub(repo_id, commit_message="Benchmark results"),
        f"push the results to {repo_id}",
        Retry(),
    )
    return pushed.commit_url


def _setup(results: Results) -> str:
    """What was measured, under which settings, on what, and how long it took."""
    cell, settings = results.cells[0], results.cells[0].settings
    minutes = sum(cell.cost["cell_seconds"] for cell in results.cells) / 60
    seeds, low_shot = ", ".join(map(str, results.seeds)), ", ".join(settings["low_shot"]) or "none"
    sizes = _listed({name.removesuffix("_size"): size for name, size in settings["sizes"].items()})
    methods = [f"- `{name}`: {METHODS[name].summary}" for name in results.methods if name in METHODS]
    return "\n".join(
        [
            f"- {len(results.cells)} cells, seeds {seeds}; together {minutes:.1f} minutes of one process each.",
            f"- Backbone {settings['backbone']}, adapters of width {settings['width']}. Examples per task: {sizes}; "
            f"low-shot sizes {low_shot}.",
            f"- Training: {_listed(settings['training'])}. "
            f"Low-shot training: {_listed(settings['low_shot_training'])}.",
            f"- Environment: {_listed(cell.environment)}.",
            *(["\nMethods:\n", *methods] if methods else []),
        ]
    )


def _missing(results: Results) -> str:
    keys = [str(key) for key in results.missing()]
    return f"**{len(keys)} cells are missing**; figures are of the others: {', '.join(keys)}." if keys else ""


def _pairs(results: Results, order: str) -> list[str]:
    """Paired tests of each subject against every other method."""
    text = (
        "Paired over seeds, in points, ± 2 standard errors; p of the two-sided paired t-test, not corrected for the "
        f"number of comparisons; bold: more than 2 standard errors. Order {order}, `%s`:"
    )
    subjects = [method for method in results.methods_in(order) if method in SUBJECTS and len(results.methods) > 1]
    return [part for method in subjects for part in (text % method, tables.pairs_table(results, order, method))]


def _details(results: Results, order: str) -> list[str]:
    """Cost table and the matrix of every method."""
    parts = [f"## Cost, order {order}", tables.cost_table(results, order), f"## Accuracy matrices, order {order}"]
    parts.append("Mean over seeds: after learning the task of a row, the score on that of a column.")
    for method in results.methods_in(order):
        parts += [f"`{method}`", tables.matrix_table(results, method, order)]
    for method in results.methods_in(order):
        table = tables.coefficient_table(results, method, order)
        parts += [f"How much each adapter counts in each task (mean coefficient): `{method}`", table] if table else []
    return parts


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows with the same keys; no file, and none left from an earlier report, if there are no rows."""
    rows = list(rows)
    if not rows:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
