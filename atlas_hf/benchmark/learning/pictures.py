"""The pictures of the report, readable at the width of a README and for the colour-blind."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from atlas_hf.benchmark.learning.cells import FULL, Representation
from atlas_hf.benchmark.learning.claims import ALONE, SUBJECTS
from atlas_hf.benchmark.learning.scores import Results
from atlas_hf.folder import Owned
from atlas_hf.report.pictures import heat_map

# Okabe and Ito's palette; the marker tells two methods of one colour apart.
RED, BLUE = "#D55E00", "#0072B2"
OTHERS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#999999")
ATLAS = {"color": RED, "marker": "o", "linestyle": "-", "linewidth": 2.2, "zorder": 4}
REFERENCE = ATLAS | {"linestyle": "--", "markerfacecolor": "white"}
STYLES = {SUBJECTS[0]: ATLAS, SUBJECTS[1]: REFERENCE, ALONE: ATLAS | {"color": BLUE, "marker": "s", "zorder": 3}}
SMALL = 8
SIZES: dict[Any, int] = {"axes.titlesize": 10, "axes.labelsize": 9, "figure.titlesize": 10, "legend.fontsize": SMALL}


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Write every picture for which something was measured, and remove the others; captions of those written."""
    captions = {
        "low_shot": (low_shot, "Low-shot curves: mean over seeds, bars are standard errors"),
        "accuracy_parameters": (parameters, "Accuracy against parameters: bars are standard deviations over seeds"),
        "accuracy_matrices": (matrices, "Accuracy matrices"),
        "representation": (representation, "Representation before and after the upstream tasks"),
    }
    drawn = {}
    for name, (picture, caption) in captions.items():
        path = folder / f"{name}.png"
        with rc_context(SIZES):
            figure = picture(results)
        if figure is None:
            Owned(folder).remove(path)
            continue
        with Owned(folder).replacing(path) as temporary:
            figure.savefig(temporary, dpi=110, metadata={"Software": None})
        drawn[path.name] = caption
    return drawn


def styles(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How each method is drawn: ATLAS red and thick, independent adapters blue, the others after them."""
    markers = cycle("svDP^X<>p")
    rest = ({"color": color, "marker": next(markers), "linestyle": ":", "linewidth": 1.2} for color in cycle(OTHERS))
    return {method: STYLES.get(method) or next(rest) for method in methods}


def low_shot(results: Results) -> Figure | None:
    """Score of new tasks against the number of examples: upstream above, downstream below, a column per order."""
    kinds = {"new": "new upstream tasks", "downstream": "downstream tasks"}
    figure, axes = _grid(len(kinds), len(results.orders), 4.6, 3.0)
    for row, (kind, title) in zip(axes, kinds.items(), strict=True):
        for axis, order in zip(row, results.orders, strict=True):
            for method, style in styles(results.methods).items():
                _curve(axis, results, method, order, kind, style)
            axis.set(title=f"{title}, {order}", xlim=(-0.2, len(results.sizes) - 0.8))
            axis.set_xticks(range(len(results.sizes)), [*results.sizes[:-1], "all"])
            axis.grid(alpha=0.3)
        row[0].set_ylabel("mean score (points)")
    for axis in axes[-1]:
        axis.set_xlabel("training examples")
    return figure if _legend(figure, axes) else None


def _curve(axis: Axes, results: Results, method: str, order: str, kind: str, style: Mapping[str, Any]) -> None:
    """One method's mean over seeds with its standard error, if it has low-shot scores."""
    found = [results.summary(method, order, f"{kind}_{size}") for size in results.sizes]
    known = [(x, 100 * s.mean, 100 * (s.error or 0)) for x, s in enumerate(found) if s.mean is not None]
    if any(results.sizes[x] != FULL for x, _, _ in known):
        places, heights, errors = zip(*known, strict=True)
        axis.errorbar(places, heights, errors, label=method, capsize=2, markersize=5, **style)


def parameters(results: Results) -> Figure | None:
    """Average accuracy after the last task against the parameters kept beside the backbone."""
    figure, axes = _grid(1, len(results.orders), 4.6, 3.6)
    for axis, order in zip(axes[0], results.orders, strict=True):
        for method, style in styles(results.methods).items():
            accuracy = results.summary(method, order, "average_accuracy")
            stored = results.summary(method, order, "stored_parameters").mean
            if accuracy.mean is not None and stored is not None:
                height, error = 100 * accuracy.mean, 100 * (accuracy.deviation or 0)
                point = style | {"label": method, "linestyle": "none", "capsize": 2, "markersize": 7}
                axis.errorbar(stored, height, error, **point)
        axis.set(title=order, xscale="log", xlabel="parameters stored beside the backbone")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(EngFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3, which="both")
    axes[0][0].set_ylabel("average accuracy (points)")
    return figure if _legend(figure, axes) else None


def matrices(results: Results) -> Figure:
    """The mean accuracy matrix of every method in the first order."""
    order = results.orders[0]
    methods, names = results.methods_in(order), results.upstream(order)
    columns = min(4, len(methods))
    figure, axes = _grid(-(-len(methods) // columns), columns, 2.5, 2.4)
    for axis in axes.flat[len(methods) :]:
        axis.set_axis_off()
    for i, method in enumerate(methods):
        axis = axes.flat[i]
        heat_map(axis, results.mean_matrix(method, order), lambda score: f"{100 * score:.0f}", fontsize=SMALL)
        axis.set_title(method)
        last_row, first_column = i + columns >= len(methods), i % columns == 0
        axis.set_xticks(range(len(names)), names if last_row else [], rotation=35, ha="right", fontsize=SMALL)
        axis.set_yticks(range(len(names)), names if first_column else [], fontsize=SMALL)
    figure.suptitle(f"Score on each task (columns) after learning each task (rows), {order}")
    return figure


def representation(results: Results) -> Figure | None:
    """Pooled features before and after, in two principal components, and their spectrum: of a cell of ATLAS if any."""
    methods = [*(name for name in SUBJECTS if name in results.methods), *results.methods]
    cells = (cell for method in methods for cell in results.of(method, results.orders[0]))
    cell = next((cell for cell in cells if cell.representation and _can_be_drawn(cell.representation)), None)
    if cell is None or cell.representation is None:
        return None
    figure = Figure(figsize=(9.6, 3.7), layout="constrained")
    before, after, spectrum = figure.subplots(1, 3)
    after.sharex(before)
    after.sharey(before)
    states: Mapping[str, Any] = {**cell.representation}
    for axis, when, line in ((before, "before", {"color": BLUE, "linestyle": "--"}), (after, "after", {"color": RED})):
        state = states[when]
        colours, markers = cycle((RED, BLUE, *OTHERS)), cycle("osD^")
        for task, rows in state["points"].items():
            style = {"color": next(colours), "marker": next(markers)}
            axis.scatter(*zip(*rows, strict=True), s=10, label=task, alpha=0.7, **style)
        axis.set(title=f"{when}: effective rank {state['effective_rank']:.1f}", xlabel="principal component 1")
        shares = [share for share in state["spectrum"] if share > 0]
        spectrum.plot(range(1, len(shares) + 1), shares, label=when, **line)
    before.set_ylabel("principal component 2")
    figure.legend(*before.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    spectrum.set(yscale="log", title="spectrum, all tasks together", xlabel="singular value", ylabel="share")
    spectrum.legend()
    figure.suptitle(f"Pooled features of test examples, {cell.method}, {cell.order}, seed {cell.seed}")
    return figure


def _can_be_drawn(found: Representation) -> bool:
    """Points in the plane, on which there is something to say."""
    states = (found["before"], found["after"])
    rows = [row for state in states for rows in state.get("points", {}).values() for row in rows or [[]]]
    measured = all(None not in (state["effective_rank"], state["spectrum"]) for state in states)
    return measured and all("points" in state for state in states) and all(len(row) == 2 for row in rows)


def _grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(max(width * columns, 6), height * rows + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _legend(figure: Figure, axes: Any) -> bool:
    """One legend for all panels, below them; False if nothing was drawn."""
    found = [axis.get_legend_handles_labels() for axis in axes.flat]
    entries = {label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)}
    if entries:
        figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=4)
    return bool(entries)
