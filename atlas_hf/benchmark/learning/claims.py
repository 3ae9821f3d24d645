"""The four claims of the ATLAS paper (arXiv 2410.10923), each as figures with n, spread and p, held or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

from atlas_hf.benchmark.learning.cells import FULL
from atlas_hf.benchmark.learning.scores import Results, paired, summarise
from atlas_hf.folder import DOWNSTREAM
from atlas_hf.metrics import continual

SUBJECTS = ("atlas", "atlas_reference")  # the methods that the claims are about
ALONE, ALONE_IN_STAGES = "adapter", "adapter_two_stage"  # each task from the bare backbone
ALL_TASKS = "all"
Row = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A claim, its figures, and in how many of them it holds."""

    letter: str  # with `text` the report's heading
    text: str
    rule: str  # when a row counts as held
    rows: Sequence[Row]  # one per comparison; `held` is True, False, or None where it cannot be said

    @property
    def main(self) -> list[Row]:
        """The rows over all tasks, at low-shot sizes: what the verdict counts."""
        whole = [row for row in self.rows if {row.get("task"), row.get("modality")} <= {ALL_TASKS, None}]
        return [row for row in whole if row.get("examples") != FULL]

    @property
    def verdict(self) -> str:
        """One line: in how many comparisons the claim holds."""
        decided = [row["held"] for row in self.main if row["held"] is not None]
        return f"holds in {sum(decided)} of {len(decided)} comparisons" if decided else "not measured"


def claims(results: Results) -> list[Claim]:
    """All four, from the cells alone."""
    return [no_forgetting(results), reuse_helps(results), upstream_helps(results), representation_spreads(results)]


def no_forgetting(results: Results) -> Claim:
    """(a): the forgetting of upstream tasks, of every method; the claim is that of the subjects is 0."""
    rows = []
    for method, order in results.places(results.methods):
        found = results.summary(method, order, "forgetting")
        drops = []  # how much each earlier task lost between its best score and its last
        for cell in results.of(method, order):
            for column in zip(*cell.matrix, strict=True):
                scores = [score for score in column if score is not None]
                drops += [max(scores) - scores[-1]] if len(scores) > 1 else []
        worst = max(drops, default=None)
        held = None if method not in SUBJECTS or worst is None else worst == 0
        figures = {"n": found.n, "forgetting": found.mean, "deviation": found.deviation, "worst_drop": worst}
        rows.append({"method": method, "order": order} | figures | {"held": held})
    return Claim("a", "Upstream tasks are not forgotten.", "no task's score ever drops", rows)


def reuse_helps(results: Results) -> Claim:
    """(b): a new upstream task with reuse before expansion, against the same task alone, at each low-shot size. What
    is left of a gain against `ALONE_IN_STAGES` does not come from training the head first.
    """
    rows = []
    for method, order in results.places(SUBJECTS):
        tasks = results.upstream(order)[1:]
        groups = {ALL_TASKS: tasks} | {task: [task] for task in tasks}
        for baseline, size, name in product((ALONE, ALONE_IN_STAGES), results.sizes, groups):
            found = paired(*(results.learned(side, order, groups[name], size) for side in (method, baseline)))
            place = {"method": method, "baseline": baseline, "order": order, "examples": size, "task": name}
            rows += [place | vars(found) | {"held": found.gain}] if found.n else []
    return Claim("b", "Reuse before expansion helps a new task.", "better than the baseline by more than 2 SE", rows)


def upstream_helps(results: Results) -> Claim:
    """(c): downstream tasks after all upstream tasks, against the bare backbone (`ALONE`), by modality."""
    records = [task for task in results.cells[0].tasks if task["role"] == DOWNSTREAM]
    kinds = dict.fromkeys(task["modality"] for task in records)
    groups = {ALL_TASKS: records} | {kind: [task for task in records if task["modality"] == kind] for kind in kinds}
    rows = []
    for (method, order), size, modality in product(results.places(SUBJECTS), results.sizes, groups):
        tasks, names = groups[modality], [task["name"] for task in groups[modality]]
        found = paired(*(results.learned(side, order, names, size) for side in (method, ALONE)))
        place = {"method": method, "order": order, "examples": size, "modality": modality, "tasks": len(tasks)}
        transfer = _transfer(results, method, order, tasks, size)
        rows += [place | transfer | vars(found) | {"held": found.gain}] if found.n else []
    rule = "better than from the bare backbone by more than 2 SE"
    return Claim("c", "Learning upstream tasks helps downstream tasks.", rule, rows)


def _transfer(results: Results, method: str, order: str, tasks: Sequence[Mapping[str, Any]], size: str) -> Row:
    """CLiMB's transfer of each task's mean over seeds (a single seed near chance would be divided by about zero), mean
    over the tasks that the bare backbone learns better than chance: elsewhere it is not defined.
    """
    found = []
    for task in tasks:
        sides = (results.learned(side, order, [task["name"]], size) for side in (method, ALONE))
        after, bare = ([summarise(side).mean] for side in sides)
        found.append(continual.low_shot_transfer(after, bare, [task["random_baseline"]]))
    known = [transfer for transfer in found if transfer is not None]
    return {"low_shot_transfer": fmean(known) if known else None, "transfer_tasks": len(known)}


def representation_spreads(results: Results) -> Claim:
    """(d): effective rank and dispersion of the pooled features, after the upstream tasks against before them."""
    rows = []
    for (method, order), figure in product(results.places(results.methods), ("effective_rank", "dispersion")):
        before, after = (results.values(method, order, f"{figure}_{when}") for when in ("before", "after"))
        found = paired(after, before)
        means = {"before": summarise(before).mean, "after": summarise(after).mean}
        place = {"method": method, "order": order, "figure": figure} | means
        rows.append(place | vars(found) | {"held": found.gain if method in SUBJECTS else None})
    return Claim("d", "The representation spreads upstream.", "larger after than before by more than 2 SE", rows)
