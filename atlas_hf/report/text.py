"""Results as text, for the terminal, and tables in Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from atlas_hf.folder import Index, Results


def format_results(results: Results) -> str:
    """Accuracy matrix, its figures, parameters per task, and who reuses whom."""
    tasks, upstream = results.tasks, [task.name for task in results.upstream]
    rows = [[name, *map(_score, row)] for name, row in zip(upstream, results.matrix, strict=True)]
    parts = ["\nScore on each task (columns) after learning each task (rows)", table(["after", *upstream], rows)]
    figures = {name.replace("_", " "): value for name, value in results.summary.items()}
    parts.append("\n".join(f"{name:<20}{_score(value)}" for name, value in figures.items()))
    downstream = [task for task in tasks if task not in results.upstream]
    if downstream:
        rows = [[task.name, _score(task.score), _score(task.random_baseline)] for task in downstream]
        parts += ["\nDownstream, each from the upstream model", table(["task", "score", "chance"], rows)]
    counted = list(dict.fromkeys(part for task in tasks for part in task.parameters))
    rows = [
        [t.name, _score(t.random_baseline), *(f"{t.parameters.get(part, 0):,}" for part in counted),
         f"{sum(t.parameters.values()):,}", "-" if t.seconds is None else f"{t.seconds:.0f} s"]
        for t in tasks
    ]  # fmt: skip
    header = ["task", "chance", *counted, "parameters", "time"]
    parts += ["\nParameters added per task", table(header, rows), "\nMean coefficient of each adapter"]
    parts.append("\n".join(_plain(f"{task.name}: {_listed(task.mean_by_member, '.3f') or 'none'}") for task in tasks))
    return "\n".join(parts)


def format_info(index: Index, results: Results) -> str:
    """What a folder holds, with the results if there are any."""
    base = index.base_model
    lines = [f"Backbone: {_plain(base.id)} ({base.dtype}, sha256 {_plain(base.sha256[:12])}...)"]
    rows = [
        [record.position, name, record.stage, ", ".join(record.experience) or "-", _listed(record.metrics, ".4f")]
        for name, record in index.tasks.items()
    ]
    lines.append(table(["", "task", "stage", "reuses", "metrics"], rows))
    return "\n".join(lines) + ("\n" + format_results(results) if results.tasks else "")


def table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """Columns as wide as they need to be, separated by two spaces."""
    cells = [[_plain(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]], words: int = 1) -> str:
    """A Markdown table; the columns after the first `words` hold numbers, and are right-aligned."""
    lines = [header, [*["---"] * words, *["---:"] * (len(header) - words)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _plain(value: Any) -> str:
    """Anything as one line: what a stranger wrote into a file must not move the cursor of a terminal."""
    text = str(value)
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def _listed(numbers: dict[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in numbers.items())


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
