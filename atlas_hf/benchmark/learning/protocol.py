"""What is measured of one method on one order with one seed: the cell.

The upstream tasks are learned one after another; after each, all so far are scored. Before it, copies of the method
learn it from few examples, are scored, and are thrown away; after the last, copies so learn each downstream task.
"""

import resource
import sys
import time
from collections.abc import Sequence
from functools import partial

from transformers import set_seed

from atlas_hf.benchmark.learning import representation
from atlas_hf.benchmark.learning.cells import FULL, Cell, CellTask, Key, Learned
from atlas_hf.benchmark.learning.plan import Plan
from atlas_hf.benchmark.methods import Cost, LoadedTask, Method, Setting
from atlas_hf.folder import DOWNSTREAM, UPSTREAM, TaskResult, library_versions
from atlas_hf.model import AtlasModel
from atlas_hf.streams import low_shot
from atlas_hf.training import AtlasTrainingArguments, environment, mean_coefficients


def measure(plan: Plan, key: Key, upstream: Sequence[LoadedTask], downstream: Sequence[LoadedTask]) -> Cell:
    """Measure one cell. `upstream` in the order of learning; both as `Plan.load` gives them."""
    start = time.perf_counter()
    before = representation.bare_features(plan.backbone, upstream, plan.pooling)
    group = Group(plan, key)
    matrix = group.learn(upstream)
    parameters, cost = group.method.parameters(), group.cost()
    after = representation.features(group.method.pooled, upstream)
    coefficients = _coefficients(group.method, upstream)
    for task in downstream if not group.method.together else ():
        group.learn_copies(task, group.sizes)
    cost["cell_seconds"] = time.perf_counter() - start
    return Cell(
        **vars(key) | {"stream": plan.stream, "settings": plan.settings},
        tasks=[*(_record(task, UPSTREAM) for task in upstream), *(_record(task, DOWNSTREAM) for task in downstream)],
        matrix=matrix, low_shot=group.low_shot, learned=group.learned, parameters=parameters, cost=cost,
        coefficients=coefficients,
        representation=representation.compare(before, after, points=key.seed == plan.seeds[0]),
        environment=environment() | library_versions(),
    )  # fmt: skip


class Group:
    """A method while it learns the tasks of one cell, what copies of it learn from few examples, and what it took."""

    def __init__(self, plan: Plan, key: Key) -> None:
        self.seed, self.sizes = key.seed, plan.low_shot_sizes(key.method)
        # No validation set is used and nothing is written: methods see to that.
        make = partial(AtlasTrainingArguments, output_dir="unused", seed=key.seed, report_to="none")
        self.full, self.few = make(**plan.training), make(**plan.low_shot_training)
        self.method = plan.methods[key.method](Setting(plan.backbone, plan.width, key.seed, plan.pooling))
        self.low_shot: dict[str, dict[str, float]] = {}
        self.learned: dict[str, dict[str, Learned]] = {}
        self.costs: list[Cost] = []
        self.eval_seconds = 0.0

    def learn(self, tasks: Sequence[LoadedTask]) -> list[list[float | None]]:
        """All tasks at once, or one after another, few examples first; the accuracy matrix (T x T)."""
        matrix: list[list[float | None]] = [[None] * len(tasks) for _ in tasks]
        if self.method.together:
            self.costs.append(self.method.learn(tasks, self.full))
            matrix[-1] = [self._score(task) for task in tasks]
            return matrix
        few = [size for size in self.sizes if size != FULL]
        for i, task in enumerate(tasks):
            if i > 0 or not self.method.uses_order:  # the first of an order has nothing to build on
                self.learn_copies(task, few)
            self.costs.append(self.method.learn([task], self.full))
            self._remember(self.method, task, FULL, self.costs[-1])
            first = 0 if self.method.uses_order else i
            matrix[i][first : i + 1] = [self._score(earlier) for earlier in tasks[first : i + 1]]
        return matrix

    def learn_copies(self, task: LoadedTask, sizes: Sequence[str]) -> None:
        """Score what copies of the method learn of a task from so many examples."""
        spec, data = task
        for size in sizes:
            copy = self.method.fork()
            few = data if size == FULL else low_shot(data, int(size), self.seed)
            cost = copy.learn([(spec, few)], self.full if size == FULL else self.few)
            self._remember(copy, task, size, cost)
            self.low_shot.setdefault(spec.name, {})[size] = self._evaluate(copy, task)

    def _remember(self, method: Method, task: LoadedTask, size: str, cost: Cost) -> None:
        name, trained = task[0].name, method.parameters()["trained"]
        found = Learned(sources=method.began_at.get(name), parameters=trained, seconds=cost.seconds)
        self.learned.setdefault(name, {})[size] = found

    def cost(self) -> dict[str, float]:
        """Of what was learned at full size so far, copies left out."""
        seconds = sum(cost.seconds for cost in self.costs)
        samples = sum(cost.samples_per_second * cost.seconds for cost in self.costs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of this process so far; Linux counts KiB
        return {
            "train_seconds": seconds, "eval_seconds": self.eval_seconds, "samples_per_second": samples / seconds,
            "peak_memory_bytes": peak if sys.platform == "darwin" else 1024 * peak,
            "steps": sum(cost.steps for cost in self.costs),
        }  # fmt: skip

    def _score(self, task: LoadedTask) -> float:
        start = time.perf_counter()
        score = self._evaluate(self.method, task)
        self.eval_seconds += time.perf_counter() - start
        return score

    def _evaluate(self, method: Method, task: LoadedTask) -> float:
        set_seed(self.seed)  # ViLT draws the order of its patches in evaluation too: the same weights, the same score
        return method.evaluate(task[0].name, task[1]["test"])


def _coefficients(method: Method, tasks: Sequence[LoadedTask]) -> dict[str, dict[str, float]] | None:
    """How much each adapter counts in each task, mean over test examples and sites; None without an `AtlasModel`."""
    if not isinstance(method.model, AtlasModel):
        return None
    found = {spec.name: mean_coefficients(method.model, spec.name, data["test"]) for spec, data in tasks}
    return {task: TaskResult(task, coefficients=sites).mean_by_member for task, sites in found.items()}


def _record(task: LoadedTask, role: str) -> CellTask:
    spec = task[0]
    return CellTask(
        name=spec.name, metric=spec.metric, random_baseline=spec.random_baseline, modality=spec.modality, role=role
    )
