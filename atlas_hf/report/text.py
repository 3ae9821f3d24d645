"""Results as text, for the terminal, and tables in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from atlas_hf.folder import BARE, Index, Results, TaskResult

TRY = (
    "Try more examples, more steps (max_steps) or another rate (learning_rate), and look whether the columns that it "
    "reads decide its label."
)


def format_score(task: TaskResult) -> list[str]:
    """The score of a task with its error and that of chance, as a line; and one that says so if it is no better."""
    error = "" if task.standard_error is None else f" ± {task.standard_error:.3f}"
    rows = f" on {task.test_examples:,} test examples" if task.test_examples else ""
    chance = "" if task.chance is None else f"; one answer for all of them gives {task.chance:.3f}"
    score = "-" if task.score is None else f"{task.score:.3f}"
    line = f"{task.name}: {task.metric} {score}{error}{rows}{chance}"
    return [*map(_plain, [line, *format_help(task), *format_doubt(task)])]


def format_help(task: TaskResult) -> list[str]:
    """A sentence on what reuse gave a task, if that was compared; the range is two standard errors."""
    if task.alone is None:
        return []
    gain, error = task.alone["gain"], task.alone["error"]
    clear = error is not None and abs(gain) > 2 * error
    verdict = ("helped" if gain > 0 else "set back") if clear else "neither helped nor set back clearly"
    by = " + ".join(task.opened or task.experience)
    return [f"{task.name}: {verdict} by {by}, {format_gain(task)}; alone it scores {_score(task.alone['score'])}"]


def format_gain(task: TaskResult) -> str:
    """What reuse gave a task, with two standard errors; empty if that was not compared."""
    if task.alone is None:
        return ""
    scale, unit = (1, "of squared error") if task.metric == "pearson" else (100, "points")
    gain, error = task.alone["gain"], task.alone["error"]
    return f"{scale * gain:+.1f} ± {'?' if error is None else f'{2 * scale * error:.1f}'} {unit}"


def format_doubt(task: TaskResult) -> list[str]:
    """A sentence if a task answers everything alike, or no better than that; none otherwise."""
    if task.only_answer is not None:
        return [f"{task.name}: it answers {task.only_answer!r} to every test example: it tells nothing apart. {TRY}"]
    if task.is_above_chance is False:
        return [f"{task.name}: that is not above chance by more than its standard error. {TRY}"]
    return []


def format_results(results: Results) -> str:
    """Accuracy matrix, its figures, parameters per task, and who reuses whom."""
    tasks, upstream = results.tasks, [task.name for task in results.upstream]
    rows = [[name, *map(_score, row)] for name, row in zip(upstream, results.matrix, strict=True)]
    parts = ["\nScore on each task (columns) after learning each task (rows)", table(["after", *upstream], rows)]
    figures = {name.replace("_", " "): value for name, value in results.summary.items()}
    parts.append("\n".join(f"{name:<20}{_score(value)}" for name, value in figures.items()))
    parts += _scores(tasks)
    downstream = [task for task in tasks if task not in results.upstream]
    if downstream:
        rows = [[task.name, _score(task.score), _score(_chance(task))] for task in downstream]
        parts += ["\nDownstream, each from the upstream model", table(["task", "score", "chance"], rows)]
    counted = list(dict.fromkeys(part for task in tasks for part in task.parameters))
    rows = [
        [t.name, _score(_chance(t)), *(f"{t.parameters.get(part, 0):,}" for part in counted),
         f"{sum(t.parameters.values()):,}", "-" if t.seconds is None else f"{t.seconds:.0f} s"]
        for t in tasks
    ]  # fmt: skip
    header = ["task", "chance", *counted, "parameters", "time"]
    parts += ["\nParameters added per task", table(header, rows), *_beginnings(tasks)]
    parts += _own_settings(results)
    return "\n".join([*parts, *_adapters(tasks)])


def _adapters(tasks: Sequence[TaskResult]) -> list[str]:
    """What the adapters in each task come to; where only their coefficients were measured, those."""
    if any(task.contributions for task in tasks):
        title = "\nWhat each adapter adds, as a share of what it adds to (one that has not learned adds 0)"
        found = {task.name: task.contributions for task in tasks}
    else:
        title = "\nMean coefficient of each adapter (0 to 1; untrained ones are near 0.5)"
        found = {task.name: task.mean_by_member for task in tasks}
    if not any(found.values()):
        return ["\nNo task has an adapter: each is a head on the bare backbone"]
    return [title, *(_plain(f"{name}: {_listed(numbers, '.3f') or 'none'}") for name, numbers in found.items())]


def _scores(tasks: Sequence[TaskResult]) -> list[str]:
    """How sure the scores are, and what is no better than chance, where that was measured."""
    header = ["task", "score", "standard error", "test examples", "chance"]
    measured = [task for task in tasks if task.test_examples]
    rows = [[t.name, *map(_score, (t.score, t.standard_error)), t.test_examples, _score(_chance(t))] for t in measured]
    if any(task.alone for task in measured):
        header += ["alone", "gain by reuse"]
        rows = [
            [*row, _score(t.alone and t.alone["score"]), format_gain(t) or "-"]
            for row, t in zip(rows, measured, strict=True)
        ]
    doubts = [_plain(line) for task in measured for line in (*format_help(task), *format_doubt(task))]
    return ["\nScore of each task now; chance is one answer for all", table(header, rows), *doubts] if measured else []


def _chance(task: TaskResult) -> float:
    """Of the test examples; where they were not counted, what the task's spec says."""
    return task.random_baseline if task.chance is None else task.chance


def _own_settings(results: Results) -> list[str]:
    """What tasks were learned with that is not as the folder was begun, where there is such: first what all share."""
    if not any(task.settings for task in results.tasks):
        return []
    shared, own = results.learned_with
    others = {name: value for name, value in shared.items() if results.settings.get(name) != value}
    lines = [f"{task}: {text}" for task, one in [("all", others), *own.items()] if (text := settings_text(one))]
    return ["\nSettings, where tasks differ, or all from what the folder was begun with", *map(_plain, lines)]


def settings_text(settings: Mapping[str, Any]) -> str:
    """The plain ones of settings, as one line."""
    return ", ".join(f"{name} {value}" for name, value in settings.items() if isinstance(value, (str, int, float)))


def _beginnings(tasks: Sequence[TaskResult]) -> list[str]:
    """Who helped whom, and by how much, where that was measured."""
    header = ["task", "begins at", "error there", "bare backbone", "own adapter", "score without", "with it"]
    rows = []
    for task in tasks:
        where, stage = task.begins_at, task.stages.get("expansion", {})
        error = {name: _score(task.sources.get(name)) for name in (where, BARE)}
        scores = [_score(stage.get(name)) for name in ("score_before", "score_after")]
        own = "yes" if task.parameters.get("adapter") else "no"
        rows.append([task.name, "bare backbone" if where == BARE else where, error[where], error[BARE], own, *scores])
    title = "\nWhere each task begins (error of a linear probe, as a share of that of the mean); what expansion gave"
    return [title, table(header, rows)] if any(task.sources for task in tasks) else []


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
