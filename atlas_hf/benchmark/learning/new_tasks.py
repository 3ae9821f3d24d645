"""What a new task gains from the tasks before it: against the best of the controls, by task and number of examples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

from atlas_hf.benchmark.learning.cells import ANY_ORDER, Cell, Learned
from atlas_hf.benchmark.learning.scores import Paired, Results, Summary, paired, summarise
from atlas_hf.folder import DOWNSTREAM

SUBJECT, COPY = "atlas", "adapter_copy"
NO_SOURCE = "none"


@dataclass(frozen=True)
class NewTask:
    """A task learned from so many examples, after others: the subject, and the control that is best there."""

    order: str
    task: str
    examples: str
    score: Summary
    control: str  # with the highest mean at the subject's seeds: chosen after the fact, in favour of the controls
    control_score: Summary
    against_control: Paired
    against_copy: Paired  # `COPY`, which begins at the same tasks
    began_at: dict[str, int]  # in how many cells at which earlier tasks
    parameters: float | None  # that the task added, mean over cells
    control_parameters: float | None

    def flat(self) -> dict[str, Any]:
        """As a row of a CSV."""
        against = {"control": self.against_control, "copy": self.against_copy}
        return {
            "order": self.order, "task": self.task, "examples": self.examples, "n": self.score.n,
            "score": self.score.mean, "control": self.control, "control_score": self.control_score.mean,
            **{f"against_{name}_{what}": getattr(found, what) for name, found in against.items()
               for what in ("difference", "error", "p")},
            "began_at": "; ".join(f"{name}: {count}" for name, count in self.began_at.items()),
            "parameters": self.parameters, "control_parameters": self.control_parameters,
        }  # fmt: skip


def controls(results: Results) -> list[str]:
    """The methods that know nothing of other tasks, and learn tasks from few examples."""
    alone = {cell.method for cell in results.cells if cell.order == ANY_ORDER and cell.low_shot}
    return [method for method in results.methods if method in alone]


def new_tasks(results: Results, order: str) -> list[NewTask]:
    """Every task of an order but the first, then the downstream tasks, at every size that the subject has."""
    cells = results.of(SUBJECT, order)
    names = [*results.upstream(order)[1:], *cells[0].names(DOWNSTREAM)] if cells else []
    found = (_new_task(results, order, task, size) for task, size in product(names, results.sizes))
    return [one for one in found if one is not None]


def _new_task(results: Results, order: str, task: str, size: str) -> NewTask | None:
    scores = {name: results.learned(name, order, [task], size) for name in (*controls(results), SUBJECT, COPY)}
    ours = scores.pop(SUBJECT)
    scores = {
        name: [b if a is not None else None for a, b in zip(ours, theirs, strict=True)]
        for name, theirs in scores.items()
    }
    copy, means = scores.pop(COPY), {name: summarise(values).mean for name, values in scores.items()}
    measured = {name: mean for name, mean in means.items() if mean is not None}
    if not measured or summarise(ours).mean is None:
        return None
    best = max(measured, key=measured.__getitem__)
    learned = _learned(results.of(SUBJECT, order), task, size)
    began = [" + ".join(one["sources"]) or NO_SOURCE for one in learned if one["sources"] is not None]
    return NewTask(
        order, task, size, summarise(ours), best, summarise(scores[best]), paired(ours, scores[best]),
        paired(ours, copy), dict(Counter(began).most_common()), _parameters(learned),
        _parameters(_learned(results.of(best, order), task, size)),
    )  # fmt: skip


def _learned(cells: Sequence[Cell], task: str, size: str) -> list[Learned]:
    found = (cell.learned.get(task, {}).get(size) for cell in cells)
    return [one for one in found if one]


def _parameters(learned: Sequence[Learned]) -> float | None:
    return fmean(one["parameters"] for one in learned) if learned else None
