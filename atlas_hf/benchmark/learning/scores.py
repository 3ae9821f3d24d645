"""The figures of a cell, all cells of a benchmark by method, order and seed, and what comes of them over seeds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from atlas_hf import streams
from atlas_hf.benchmark.learning.cells import ANY_ORDER, Cell, Key
from atlas_hf.benchmark.methods import METHODS
from atlas_hf.folder import DOWNSTREAM, UPSTREAM
from atlas_hf.metrics import continual

CONFIDENCE = 0.95
Figures = dict[str, float | None]
Values = Sequence[float | None]  # one per seed; None where there is none


@dataclass(frozen=True)
class Summary:
    """Mean of n values (None of none), their standard deviation (n - 1), and the mean's error (None below two)."""

    n: int
    mean: float | None
    deviation: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Paired:
    """Mean difference of n pairs, its standard error, 95 % confidence interval, p of the two-sided paired t-test."""

    n: int
    difference: float | None
    error: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str | None = None  # why figures are None

    @property
    def clear(self) -> bool | None:
        """Is the difference larger than twice its standard error? None if there is no standard error."""
        return None if self.error is None or self.difference is None else abs(self.difference) > 2 * self.error

    @property
    def gain(self) -> bool | None:
        """Is it clear and positive? None if there is no standard error."""
        return self.clear and self.difference is not None and self.difference > 0


def summarise(values: Values) -> Summary:
    """Summary of the values that are not None."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return Summary(len(known), known[0] if known else None)
    return Summary(len(known), fmean(known), stdev(known), stdev(known) / sqrt(len(known)))


def paired(a: Values, b: Values) -> Paired:
    """Compare a with b of one length (or a `ValueError`), pair by pair, without those in which one is None."""
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    found = summarise([x - y for x, y in pairs])
    if found.mean is None or found.error is None:
        return Paired(found.n, found.mean, reason="one seed" if pairs else "no seed that both have")
    if found.error < 1e-12:
        return Paired(found.n, found.mean, 0.0, found.mean, found.mean, reason="the same difference at every seed")
    from scipy.stats import ttest_rel  # only a report needs it, not the processes that measure

    test = ttest_rel(*zip(*pairs, strict=True))
    low, high = map(float, test.confidence_interval(CONFIDENCE))
    return Paired(found.n, found.mean, found.error, low, high, float(test.pvalue))


def arrange(cell: Cell, order: str, names: Sequence[str]) -> Cell:
    """A cell whose tasks know nothing of one another, as one of an order: what is learned later changes no score."""
    if cell.order != ANY_ORDER:
        return cell
    places = [cell.names(UPSTREAM).index(name) for name in names]
    matrix = [[row[j] for j in places] for row in cell.matrix]
    if None in matrix[-1]:  # each task alone: all scores are on the diagonal (if together, in the last row)
        scores = [cell.matrix[j][j] for j in places]
        matrix = [[score if j <= i else None for j, score in enumerate(scores)] for i in range(len(scores))]
    downstream = [task for task in cell.tasks if task["role"] == DOWNSTREAM]
    return replace(cell, order=order, matrix=matrix, tasks=[*(cell.tasks[j] for j in places), *downstream])


def mean(scores: Iterable[float | None]) -> float | None:
    """None if there are none, or one of them was not measured."""
    found = list(scores)
    known = [score for score in found if score is not None]
    return fmean(known) if known and len(known) == len(found) else None


def figures(cell: Cell) -> Figures:
    """The figures of an (arranged) cell: scores in [0, 1], `relative_forgetting` in percent; None if not measured.

    `new_<n>` is the mean over the upstream tasks but the first, each learned from n examples (`new_full`: the matrix's
    diagonal), `downstream_<n>` that over the downstream tasks.
    """
    chance = [task["random_baseline"] for task in cell.tasks if task["role"] == UPSTREAM]
    found: Figures = {
        "average_accuracy": continual.average_accuracy(cell.matrix),
        "average_incremental_accuracy": continual.average_incremental_accuracy(cell.matrix),
        "forgetting": continual.forgetting(cell.matrix),
        "relative_forgetting": continual.relative_forgetting(cell.matrix, chance),
        "backward_transfer": continual.backward_transfer(cell.matrix),
    }
    for size in cell.sizes:
        found[f"new_{size}"] = mean(cell.score(task, size) for task in cell.names(UPSTREAM)[1:])
        found[f"downstream_{size}"] = mean(cell.score(task, size) for task in cell.names(DOWNSTREAM))
    found |= {f"{name}_parameters": count for name, count in cell.parameters.items()} | dict(cell.cost)
    states: Mapping[str, Any] = {**(cell.representation or {})}
    for when, state in states.items():
        found |= {f"{name}_{when}": state[name] for name in ("effective_rank", "dispersion")}
    return found


@dataclass(frozen=True)
class Results:
    """All cells of a benchmark. Cells of no order stand in every order, arranged."""

    cells: Sequence[Cell]

    @cached_property
    def orders(self) -> list[str]:
        """The orders as the stream names them, others after them; `"any"` alone if there is no other."""
        stream, found = streams.STREAMS.get(self.cells[0].stream), {cell.order for cell in self.cells} - {ANY_ORDER}
        return _sorted(found, stream.ORDERS if stream else ()) or [ANY_ORDER]

    @cached_property
    def methods(self) -> list[str]:
        """As they are registered; others after them, by name."""
        return _sorted({cell.method for cell in self.cells}, METHODS)

    @cached_property
    def seeds(self) -> list[int]:
        """Those of any cell, smallest first."""
        return sorted({cell.seed for cell in self.cells})

    @property
    def sizes(self) -> list[str]:
        """Those of every cell."""
        return self.cells[0].sizes

    def upstream(self, order: str) -> list[str]:
        """The upstream tasks of an order."""
        return next(cell for cell in self.cells if cell.order == order).names(UPSTREAM)

    @cached_property
    def arranged(self) -> dict[Key, Cell]:
        """Every cell in every order that it stands in."""
        return {
            Key(cell.method, order, cell.seed): arrange(cell, order, self.upstream(order))
            for order in self.orders
            for cell in self.cells
            if cell.order in (order, ANY_ORDER)
        }

    @cached_property
    def figures(self) -> dict[Key, Figures]:
        """The figures of every arranged cell."""
        return {key: figures(cell) for key, cell in self.arranged.items()}

    def of(self, method: str, order: str) -> list[Cell]:
        """The cells of a method in an order, one per seed."""
        keys = (Key(method, order, seed) for seed in self.seeds)
        return [self.arranged[key] for key in keys if key in self.arranged]

    def methods_in(self, order: str) -> list[str]:
        """The methods of which there are cells in an order."""
        return [method for method in self.methods if self.of(method, order)]

    def places(self, methods: Sequence[str]) -> list[tuple[str, str]]:
        """Every method and order of which there are cells."""
        return [(method, order) for method in methods for order in self.orders if self.of(method, order)]

    def missing(self) -> list[Key]:
        """Cells at a seed that the method has in another order, or, with low-shot scores, another such method has."""
        there = {cell.key for cell in self.cells}
        free = {key.method for key in there if key.order == ANY_ORDER}
        low_shot = {cell.method for cell in self.cells if cell.low_shot}
        missing = []
        for method in self.methods:
            peers = low_shot if method in low_shot else {method}
            seeds = sorted({cell.seed for cell in self.cells if cell.method in peers})
            orders = [ANY_ORDER] if method in free else self.orders
            missing += [Key(method, order, seed) for order in orders for seed in seeds]
        return [key for key in missing if key not in there]

    def values(self, method: str, order: str, figure: str) -> Values:
        """A figure at every seed of the benchmark."""
        return [self.figures.get(Key(method, order, seed), {}).get(figure) for seed in self.seeds]

    def learned(self, method: str, order: str, tasks: Sequence[str], size: str) -> Values:
        """The mean score over tasks, each learned from so many examples, at every seed."""
        found = (self.arranged.get(Key(method, order, seed)) for seed in self.seeds)
        return [mean(cell.score(task, size) for task in tasks) if cell else None for cell in found]

    def summary(self, method: str, order: str, figure: str) -> Summary:
        """Mean and spread of a figure over seeds."""
        return summarise(self.values(method, order, figure))

    def mean_matrix(self, method: str, order: str) -> list[list[float | None]]:
        """The accuracy matrix (T x T), mean over seeds."""
        stacks = zip(*(cell.matrix for cell in self.of(method, order)), strict=True)  # T of (seeds, T)
        return [[mean(values) for values in zip(*rows, strict=True)] for rows in stacks]

    def long(self) -> Iterator[dict[str, Any]]:
        """One row per cell and figure; for scores also which task, after which, from how many examples."""
        for key, cell in sorted(self.arranged.items()):
            place = {"stream": cell.stream, **vars(key), "task": None, "after": None, "examples": None}
            for name, value in self.figures[key].items():
                yield place | {"figure": name, "value": value}
            for after, row in zip(cell.names(UPSTREAM), cell.matrix, strict=True):
                for task, value in zip(cell.names(UPSTREAM), row, strict=True):
                    yield place | {"figure": "score", "task": task, "after": after, "value": value}
            for task, found in cell.low_shot.items():
                for size, value in found.items():
                    yield place | {"figure": "low_shot", "task": task, "examples": size, "value": value}


def _sorted(names: Iterable[str], known: Iterable[str]) -> list[str]:
    places = {name: place for place, name in enumerate(known)}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))
