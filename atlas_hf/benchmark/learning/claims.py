"""The four claims of the ATLAS paper (arXiv 2410.10923), each as figures with n, spread and p, held or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from statistics import fmean
from typing import Any

from atlas_hf.benchmark.learning.cells import DOWNSTREAM, FULL, UPSTREAM, Cell
from atlas_hf.benchmark.learning.scores import Results, mean_score, score
from atlas_hf.benchmark.learning.statistics import Paired, paired, summarise
from atlas_hf.metrics import continual

SUBJECTS = ("atlas", "atlas_reference")  # the methods that the claims are about
ALONE, ALONE_IN_STAGES = "adapter", "adapter_two_stage"  # each task from the bare backbone
ALL_TASKS = "all"
Row = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A claim, its figures, and in how many of them it holds.

    Args:
        letter, text: as the issue names it.
        rule: when a row counts as held.
        rows: one per comparison; `held` is True, False, or None where it cannot be said.
    """

    letter: str
    text: str
    rule: str
    rows: Sequence[Row]

    @property
    def main(self) -> list[Row]:
        """The rows over all tasks, at low-shot sizes: what the verdict counts."""
        whole = [row for row in self.rows if {row.get("task"), row.get("modality")} <= {ALL_TASKS, None}]
        return [row for row in whole if row.get("examples") != FULL]

    @property
    def verdict(self) -> str:
        """One line: in how many comparisons the claim holds."""
        decided = [row["held"] for row in self.main if row["held"] is not None]
        if not decided:
            return "not measured"
        return f"holds in {sum(decided)} of {len(decided)} comparisons"


def claims(results: Results) -> list[Claim]:
    """All four, from the cells alone."""
    return [no_forgetting(results), reuse_helps(results), upstream_helps(results), representation_spreads(results)]


def no_forgetting(results: Results) -> Claim:
    """(a): the forgetting of upstream tasks, of every method; the claim is that of the subjects is 0."""
    rows = []
    for method, order in _places(results, results.methods):
        found = summarise(results.values(method, order, "forgetting"))
        worst = max((drop for cell in results.of(method, order) for drop in _drops(cell)), default=None)
        held = None if method not in SUBJECTS or worst is None else worst == 0
        rows.append(
            {"method": method, "order": order, "n": found.n, "forgetting": found.mean, "deviation": found.deviation,
             "worst_drop": worst, "held": held}
        )  # fmt: skip
    return Claim("a", "Upstream tasks are not forgotten.", "no task's score ever drops", rows)


def reuse_helps(results: Results) -> Claim:
    """(b): a new upstream task with reuse before expansion, against the same task alone, at each low-shot size. With
    `ALONE_IN_STAGES` as the baseline, what is left of a gain does not come from training the head first."""
    rows = []
    for method, order in _places(results, SUBJECTS):
        tasks = results.upstream(order)[1:]
        groups = {ALL_TASKS: tasks} | {task: [task] for task in tasks}
        for baseline, size, name in product((ALONE, ALONE_IN_STAGES), results.sizes, groups):
            value = partial(mean_score, tasks=groups[name], size=size)
            found = _compare(results, method, baseline, order, value)
            place = {"method": method, "baseline": baseline, "order": order, "examples": size, "task": name}
            rows += [place | asdict(found) | {"held": _held(found)}] if found.n else []
    text = "Reuse before expansion helps a new task."
    return Claim("b", text, "better than the baseline by more than 2 SE", rows)


def upstream_helps(results: Results) -> Claim:
    """(c): downstream tasks after all upstream tasks, against the bare backbone (`ALONE`), by modality.

    `low_shot_transfer` is CLiMB's (`metrics.continual.low_shot_transfer`), of each task's mean over seeds: of single
    seeds it would be as good as divided by zero wherever one is near chance. Mean over the tasks for which it is
    defined (`transfer_tasks`): those that the bare backbone learns better than chance.
    """
    records = [task for task in results.cells[0].tasks if task["role"] == DOWNSTREAM]
    groups = {ALL_TASKS: [task["name"] for task in records]}
    for task in records:
        groups.setdefault(task["modality"], []).append(task["name"])
    rows = [
        {"method": method, "order": order, "examples": size, "modality": modality}
        | _downstream(results, method, order, size, groups[modality])
        for method, order in _places(results, SUBJECTS)
        for size, modality in product(results.sizes, groups)
    ]
    rows = [row for row in rows if row["n"]]
    text = "Learning upstream tasks helps downstream tasks."
    return Claim("c", text, "better than from the bare backbone by more than 2 SE", rows)


def representation_spreads(results: Results) -> Claim:
    """(d): effective rank and dispersion of the pooled features, after the upstream tasks against before them."""
    rows = []
    for method, order in _places(results, results.methods):
        for figure in ("effective_rank", "dispersion"):
            before, after = (results.values(method, order, f"{figure}_{when}") for when in ("before", "after"))
            found = paired(after, before)
            means = {"before": summarise(before).mean, "after": summarise(after).mean}
            held = _held(found) if method in SUBJECTS else None
            place = {"method": method, "order": order, "figure": figure}
            rows.append(place | means | asdict(found) | {"held": held})
    return Claim("d", "The representation spreads upstream.", "larger after than before by more than 2 SE", rows)


def _places(results: Results, methods: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every method and order of which there are cells."""
    return ((m, order) for m in methods for order in results.orders if results.of(m, order))


def _drops(cell: Cell) -> list[float]:
    """How much each earlier task lost between its best score and its last."""
    columns = [[row[j] for row in cell.matrix if row[j] is not None] for j in range(len(cell.names(UPSTREAM)) - 1)]
    return [max(column) - column[-1] for column in columns if len(column) > 1]


def _compare(
    results: Results, method: str, baseline: str, order: str, value: Callable[[Cell], float | None]
) -> Paired:
    sides = [{cell.seed: value(cell) for cell in results.of(name, order)} for name in (method, baseline)]
    return paired(*([side.get(seed) for seed in results.seeds] for side in sides))


def _held(found: Paired) -> bool | None:
    """More than twice the standard error above zero."""
    return None if found.clear is None else found.clear and found.difference > 0


def _downstream(results: Results, method: str, order: str, size: str, tasks: Sequence[str]) -> Row:
    """Transfer to some downstream tasks, and the paired difference of their mean score."""
    chance = {task["name"]: task["random_baseline"] for task in results.cells[0].tasks}
    transfers = []
    for task in tasks:
        after, bare = (
            summarise([score(cell, task, size) for cell in results.of(name, order)]).mean for name in (method, ALONE)
        )
        transfers.append(continual.low_shot_transfer([after], [bare], [chance[task]]))
    known = [transfer for transfer in transfers if transfer is not None]
    found = _compare(results, method, ALONE, order, partial(mean_score, tasks=tasks, size=size))
    transfer = {"low_shot_transfer": fmean(known) if known else None, "transfer_tasks": len(known)}
    return {"tasks": len(tasks)} | transfer | asdict(found) | {"held": _held(found)}
