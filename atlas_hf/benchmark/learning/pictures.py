"""The pictures of the report, readable at the width of a README and for the colour-blind."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from atlas_hf.benchmark.learning.cells import FULL, Cell
from atlas_hf.benchmark.learning.claims import ALONE, SUBJECTS
from atlas_hf.benchmark.learning.scores import Results
from atlas_hf.folder.storage import replacing

# Okabe and Ito's palette; the marker tells two methods of one colour apart.
_RED, _BLUE = "#D55E00", "#0072B2"
_OTHERS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#999999")
_COLOURS = (_RED, _BLUE, *_OTHERS)
_MARKERS = "svDP^X<>p"
_SMALL = 8


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Write every picture for which something was measured, and remove the others; captions of those written."""
    pictures = {
        "low_shot.png": (low_shot(results), "Low-shot curves: mean over seeds, bars are standard errors"),
        "accuracy_parameters.png": (
            accuracy_parameters(results),
            "Accuracy against parameters: bars are standard deviations over seeds",
        ),
        "accuracy_matrices.png": (matrices(results), "Accuracy matrices"),
        "representation.png": (representation(results), "Representation before and after the upstream tasks"),
    }
    captions = {}
    for name, (figure, caption) in pictures.items():
        if figure is None:
            (folder / name).unlink(missing_ok=True)
            continue
        with replacing(folder / name) as temporary:
            figure.savefig(temporary, dpi=110, metadata={"Software": None})
        captions[name] = caption
    return captions


def styles(methods: list[str]) -> dict[str, dict[str, Any]]:
    """How each method is drawn: ATLAS red and thick, independent adapters blue, the others after them."""
    found: dict[str, dict[str, Any]] = {}
    colours, markers = cycle(_OTHERS), cycle(_MARKERS)
    for method in methods:
        if method in SUBJECTS:
            found[method] = {"color": _RED, "marker": "o", "linestyle": "-", "linewidth": 2.2, "zorder": 4}
            if method != SUBJECTS[0]:
                found[method] |= {"linestyle": "--", "markerfacecolor": "white"}
        elif method == ALONE:
            found[method] = {"color": _BLUE, "marker": "s", "linestyle": "-", "linewidth": 2.2, "zorder": 3}
        else:
            found[method] = {"color": next(colours), "marker": next(markers), "linestyle": ":", "linewidth": 1.2}
    return found


def low_shot(results: Results) -> Figure | None:
    """Score of new tasks against the number of examples: upstream above, downstream below, a column per order."""
    kinds = {"new": "new upstream tasks", "downstream": "downstream tasks"}
    figure, axes = _grid(len(kinds), len(results.orders), 4.6, 3.0)
    for row, (kind, title) in zip(axes, kinds.items(), strict=True):
        for axis, order in zip(row, results.orders, strict=True):
            for method, style in styles(results.methods).items():
                _curve(axis, results, method, order, kind, style)
            axis.set_title(f"{title}, {order}", fontsize=10)
            axis.set_xticks(range(len(results.sizes)), [*results.sizes[:-1], "all"])
            axis.set_xlim(-0.2, len(results.sizes) - 0.8)
            axis.grid(alpha=0.3)
        row[0].set_ylabel("mean score (points)", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("training examples", fontsize=9)
    return figure if _legend(figure, axes) else None


def _curve(axis: Axes, results: Results, method: str, order: str, kind: str, style: Mapping[str, Any]) -> None:
    """One method's mean over seeds with its standard error, if it has low-shot scores."""
    found = [results.summary(method, order, f"{kind}_{size}") for size in results.sizes]
    known = [(x, 100 * s.mean, 100 * (s.error or 0)) for x, s in enumerate(found) if s.mean is not None]
    if any(results.sizes[x] != FULL for x, _, _ in known):
        axis.errorbar(*zip(*known, strict=True), label=method, capsize=2, markersize=5, **style)


def accuracy_parameters(results: Results) -> Figure | None:
    """Average accuracy after the last task against the parameters kept beside the backbone."""
    figure, axes = _grid(1, len(results.orders), 4.6, 3.6)
    for axis, order in zip(axes[0], results.orders, strict=True):
        for method, style in styles(results.methods).items():
            accuracy = results.summary(method, order, "average_accuracy")
            stored = results.summary(method, order, "stored_parameters").mean
            if accuracy.mean is not None and stored is not None:
                point, error = {**style, "linestyle": "none"}, 100 * (accuracy.deviation or 0)
                axis.errorbar(stored, 100 * accuracy.mean, error, label=method, capsize=2, markersize=7, **point)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(EngFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_title(order, fontsize=10)
        axis.set_xlabel("parameters stored beside the backbone", fontsize=9)
        axis.grid(alpha=0.3, which="both")
    axes[0][0].set_ylabel("average accuracy (points)", fontsize=9)
    return figure if _legend(figure, axes) else None


def matrices(results: Results) -> Figure | None:
    """The mean accuracy matrix of every method in the first order."""
    order = results.orders[0]
    methods, names = results.methods_in(order), results.upstream(order)
    columns = min(4, len(methods))
    figure, axes = _grid(-(-len(methods) // columns), columns, 2.5, 2.4)
    for i, axis in enumerate(axes.flat):
        if i >= len(methods):
            axis.set_axis_off()
            continue
        _heat_map(axis, results.mean_matrix(methods[i], order))
        axis.set_title(methods[i], fontsize=10)
        last_row, first_column = i + columns >= len(methods), i % columns == 0
        axis.set_xticks(range(len(names)), names if last_row else [], rotation=35, ha="right", fontsize=_SMALL)
        axis.set_yticks(range(len(names)), names if first_column else [], fontsize=_SMALL)
    figure.suptitle(f"Score on each task (columns) after learning each task (rows), {order}", fontsize=10)
    return figure


def _heat_map(axis: Axes, rows: list[list[float | None]]) -> None:
    values = [[float("nan") if value is None else value for value in row] for row in rows]
    axis.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if value is not None:
                colour = "white" if value < 0.6 else "black"
                axis.text(j, i, f"{100 * value:.0f}", ha="center", va="center", color=colour, fontsize=_SMALL)


def representation(results: Results) -> Figure | None:
    """Pooled features before and after, in the plane of their two principal components, and their spectrum."""
    cell = _drawn_cell(results)
    if cell is None:
        return None
    figure = Figure(figsize=(9.6, 3.7), layout="constrained")
    before, after, spectrum = figure.subplots(1, 3)
    after.sharex(before)
    after.sharey(before)
    for axis, when in ((before, "before"), (after, "after")):
        state = cell.representation[when]
        for i, (task, rows) in enumerate(state["points"].items()):
            style = {"color": _COLOURS[i % len(_COLOURS)], "marker": "osD^"[i % 4]}
            axis.scatter(*zip(*rows, strict=True), s=10, label=task, alpha=0.7, **style)
        axis.set_title(f"{when}: effective rank {state['effective_rank']:.1f}", fontsize=10)
        axis.set_xlabel("principal component 1", fontsize=9)
        style = {"color": _BLUE, "linestyle": "--"} if when == "before" else {"color": _RED}
        shares = [share for share in state["spectrum"] if share > 0]
        spectrum.plot(range(1, len(shares) + 1), shares, label=when, **style)
    before.set_ylabel("principal component 2", fontsize=9)
    figure.legend(*before.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=_SMALL)
    spectrum.set(yscale="log", xlabel="singular value", ylabel="share")
    spectrum.legend(fontsize=_SMALL)
    spectrum.set_title("spectrum, all tasks together", fontsize=10)
    figure.suptitle(f"Pooled features of test examples, {cell.method}, {cell.order}, seed {cell.seed}", fontsize=10)
    return figure


def _drawn_cell(results: Results) -> Cell | None:
    """The first cell with points: of ATLAS if there is one."""
    methods = [*(name for name in SUBJECTS if name in results.methods), *results.methods]
    cells = (cell for method in methods for cell in results.of(method, results.orders[0]))
    return next((cell for cell in cells if "points" in (cell.representation or {}).get("before", {})), None)


def _grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(max(width * columns, 6), height * rows + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _legend(figure: Figure, axes: Any) -> bool:
    """One legend for all panels, below them; False if nothing was drawn."""
    entries: dict[str, Any] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    if entries:
        figure.legend(entries.values(), entries, loc="outside lower center", ncols=4, fontsize=_SMALL)
    return bool(entries)
