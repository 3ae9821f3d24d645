"""Pictures of `results.json`: the accuracy matrix and what each task reuses."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from atlas_hf.folder import MATRIX_PLOT, REUSE_PLOT, Owned, Results
from atlas_hf.report.text import format_gain

Rows = Sequence[Sequence[float | None]]


def draw_results(results: Results, folder: Path) -> None:
    """Write both pictures as PNG files into a folder."""
    names = [task.name for task in results.upstream]
    title = "Score on each task after learning each task"
    _draw(folder / MATRIX_PLOT, results.matrix, names, names, title, "evaluated on", "after learning")
    names = [task.name for task in results.tasks]
    measured = any(task.contributions for task in results.tasks)
    found = [task.contributions if measured else task.mean_by_member for task in results.tasks]
    used = {name for task in (*found, *(task.opened for task in results.tasks)) for name in task}
    columns = [name for name in names if name in used] or [""]
    rows = [[task.get(name) for name in columns] for task in found]
    title = "What each task's adapter adds, as a share of what it adds to"
    title = title if measured else "Mean coefficient of each task's adapter (test examples, all sites)"
    begun = [
        (columns.index(one), i)
        for i, task in enumerate(results.tasks)
        for one in (task.opened if task.sources else ())
        if one in columns
    ]
    title += "\nframed: the task at whose model one began" if begun else ""
    gains = [format_gain(task) for task in results.tasks]
    title += "\nbelow a task: what reuse gave it, ± 2 standard errors" if any(gains) else ""
    labels = [f"{name}\n{gain}".strip() for name, gain in zip(names, gains, strict=True)]
    x_label = "adapter of" if any(found) else "no task has an adapter: each is a head on the bare backbone"
    top = max(share for task in found for share in task.values()) if measured else 1.0
    _draw(folder / REUSE_PLOT, rows, columns, labels, title, x_label, "in task", begun, top)


def _draw(
    path: Path,
    rows: Rows,
    columns: Sequence[str],
    labels: Sequence[str],
    title: str,
    x_label: str,
    y_label: str,
    framed: Sequence[tuple[int, int]] = (),
    top: float = 1.0,
) -> None:
    figure = Figure(figsize=(3.2 + 0.85 * len(labels), 2.2 + 0.6 * len(labels)), layout="constrained")
    axes = figure.subplots()
    image = heat_map(axes, rows, "{:.2f}".format, top)
    for x, y in framed:
        axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor="crimson", linewidth=2))
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes)
    with Owned(path.parent).replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})


def heat_map(axes: Axes, rows: Rows, written: Callable[[float], str], top: float = 1.0, **style: Any) -> AxesImage:
    """Numbers in [0, top] as colours, each written in; None stays empty. `style` is that of the text."""
    values = [[float("nan") if value is None else value for value in row] for row in rows]
    image = axes.imshow(values, vmin=0, vmax=top, cmap="viridis", aspect="auto")
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if value is not None:
                colour = "white" if value < 0.6 * top else "black"
                axes.text(j, i, written(value), ha="center", va="center", color=colour, **style)
    return image
