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
    _draw(folder / MATRIX_PLOT, results.matrix, names, title, "evaluated on", "after learning")
    names = [task.name for task in results.tasks]
    measured = any(task.contributions for task in results.tasks)
    found = [task.contributions if measured else task.mean_by_member for task in results.tasks]
    rows = [[task.get(name) for name in names] for task in found]
    title = "What each task's adapter adds, as a share of what it adds to"
    title = title if measured else "Mean coefficient of each task's adapter (test examples, all sites)"
    begun = [
        (names.index(one), i)
        for i, task in enumerate(results.tasks)
        for one in (task.opened if task.sources else ())
        if one in names
    ]
    title += "\nframed: the task at whose model one began" if begun else ""
    gains = [format_gain(task) for task in results.tasks]
    title += "\nbelow a task: what reuse gave it, ± 2 standard errors" if any(gains) else ""
    labels = [f"{name}\n{gain}".strip() for name, gain in zip(names, gains, strict=True)]
    _draw(folder / REUSE_PLOT, rows, names, title, "adapter of", "in task", begun, labels)


def _draw(
    path: Path,
    rows: Rows,
    names: Sequence[str],
    title: str,
    x_label: str,
    y_label: str,
    framed: Sequence[tuple[int, int]] = (),
    labels: Sequence[str] | None = None,
) -> None:
    figure = Figure(figsize=(3.2 + 0.85 * len(names), 2.2 + 0.6 * len(names)), layout="constrained")
    axes = figure.subplots()
    image = heat_map(axes, rows, "{:.2f}".format)
    for x, y in framed:
        axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor="crimson", linewidth=2))
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(names)), labels or names)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes)
    with Owned(path.parent).replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})


def heat_map(axes: Axes, rows: Rows, written: Callable[[float], str], **style: Any) -> AxesImage:
    """Numbers in [0, 1] as colours, each written in; None stays empty. `style` is that of the text."""
    values = [[float("nan") if value is None else value for value in row] for row in rows]
    image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if value is not None:
                colour = "white" if value < 0.6 else "black"
                axes.text(j, i, written(value), ha="center", va="center", color=colour, **style)
    return image
