"""Pictures of `results.json`: the accuracy matrix and what each task reuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from atlas_hf.folder import MATRIX_PLOT, REUSE_PLOT, Results, TaskResult, replacing


def draw_results(results: Results, folder: Path) -> None:
    """Write both pictures as PNG files into a folder."""
    names = [task.name for task in results.upstream]
    title = "Score on each task after learning each task"
    _heat_map(results.matrix, names, names, title, "evaluated on", "after learning", folder / MATRIX_PLOT)
    learned = [task.name for task in results.tasks]
    rows = [[mean_by_member(task).get(name) for name in learned] for task in results.tasks]
    title = "Mean coefficient of each task's adapter (test examples, all sites)"
    _heat_map(rows, learned, learned, title, "adapter of", "in task", folder / REUSE_PLOT)


def mean_by_member(task: TaskResult) -> dict[str, float]:
    """A task's mean coefficient of each adapter, over the sites."""
    sites = list(task.coefficients.values())
    return {name: sum(site[name] for site in sites) / len(sites) for name in sites[0]}


def _heat_map(
    rows: Sequence[Sequence[float | None]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    title: str,
    x_label: str,
    y_label: str,
    path: Path,
) -> None:
    """Numbers in [0, 1] as colours with the number written in; None stays empty."""
    height, width = len(row_names), len(column_names)
    figure = Figure(figsize=(3.2 + 0.85 * width, 2.2 + 0.6 * height), layout="constrained")
    axes = figure.subplots()
    values = [[float("nan") if value is None else value for value in row] for row in rows]
    image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if value is not None:
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.6 else "black")
    axes.set_xticks(range(width), column_names, rotation=35, ha="right")
    axes.set_yticks(range(height), row_names)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})
