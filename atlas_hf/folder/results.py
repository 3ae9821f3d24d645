"""`results.json`: what was measured of each task, and what the card, the pictures and the terminal show of it.

Whoever has a folder may have written its `results.json`, so a reader checks all of it but what is `Any`: what its
author wrote of settings and data is checked where it is printed.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypedDict

from atlas_hf.folder.files import RESULTS, AtlasFormatError, refuse_links
from atlas_hf.folder.index import FORMAT_VERSION
from atlas_hf.folder.ownership import Owned
from atlas_hf.folder.reading import read_json
from atlas_hf.folder.records import check_types, is_number
from atlas_hf.metrics import continual

UPSTREAM, DOWNSTREAM = "upstream", "downstream"
BARE = "__base__"  # in `TaskResult.sources`: the bare backbone
FIGURES = (continual.average_accuracy, continual.backward_transfer, continual.forgetting)


class Alone(TypedDict):
    """A task against itself, learned without the others, see `atlas_hf.training.alone.compare_alone`."""

    score: float  # of the task that was learned alone
    gain: float  # by reuse, in scores of one test example, their mean ...
    error: float | None  # ... and its standard error; None of one example
    examples: int


@dataclass
class TaskResult:
    """One learned task.

    Args:
        role: `"upstream"`, a task of the stream, or `"downstream"`, learned on its own from the model after it.
        metric, random_baseline, modality, problem_type: as its `TaskSpec` has them.
        experience, opened: the earlier tasks that it reuses, and those at whose models it began.
        sources: how well it could have begun elsewhere, see `atlas_hf.training.sources.find_sources`.
        stages, parameters: metrics by stage, and how many parameters it added by part.
        coefficients: the mean coefficient of each adapter, by site.
        contributions: what each adapter adds, as a share of what it adds to (`atlas_hf.training.contributions`); empty
            in folders of older versions.
        timing: seconds, of the whole task and by stage.
        settings: those of its training that are not the folder's (`Results.settings`).
        score: its metric on the test split, now; set by `Results.add` and `Results.rescore`.
        test_examples, standard_error: of that split, and of the score; None where it was not measured.
        chance: what one answer for all the test examples would score at best.
        only_answer: the label that it answers all of them with, if it does.
        alone: the same task learned without the others; None where that was not compared.
        pruned: what `atlas-hf prune` dropped and what that did; None if it was not pruned.
    """

    name: str
    role: str = UPSTREAM
    metric: str = "accuracy"
    random_baseline: float = 0.0
    modality: str = ""
    problem_type: str = ""
    train_examples: int = 0
    experience: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    sources: dict[str, float] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    coefficients: dict[str, dict[str, float]] = field(default_factory=dict)
    contributions: dict[str, float] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    score: float | None = None
    test_examples: int = 0
    standard_error: float | None = None
    chance: float | None = None
    only_answer: str | None = None
    alone: Alone | None = None
    pruned: dict[str, Any] | None = None

    @property
    def mean_by_member(self) -> dict[str, float]:
        """The mean coefficient of each adapter over the sites; empty where none were measured."""
        sites = list(self.coefficients.values())
        return {name: sum(site[name] for site in sites) / len(sites) for name in (sites[0] if sites else ())}

    @property
    def begins_at(self) -> str:
        """The earlier tasks at whose models it began, as its `sources` have them."""
        return " + ".join(self.opened) or BARE

    @property
    def is_above_chance(self) -> bool | None:
        """By more than the score's standard error; None where that was not measured."""
        if self.score is None or self.chance is None or self.standard_error is None:
            return None
        return self.score > self.chance + self.standard_error

    @property
    def seconds(self) -> float | None:
        """That learning it took; None where that was not measured."""
        return self.timing.get("seconds")

    def check(self, where: str) -> None:
        """What its types do not say, of one that was read. Raises `AtlasFormatError`."""
        sites = list(self.coefficients.values())
        if any(site.keys() != sites[0].keys() for site in sites):
            raise AtlasFormatError(f"{where} has coefficients of other adapters at other sites. Restore the file.")
        if not (self.seconds is None or is_number(self.seconds)):
            raise AtlasFormatError(f"{where} has timing.seconds that are no number. Restore the file.")


@dataclass
class Results:
    """Everything that was measured of a folder's tasks.

    Args:
        tasks: in the order of learning.
        matrix: of the upstream tasks: row i, column j is the score on task j after learning task i, None before.
        settings: of the training as the folder was begun, as a reader is shown them; a task may have others.
        further_settings: the rest of them, at their defaults; none in folders of older versions.
        description: where the data come from, which must not change on the way.
        environment: what the figures were measured on.
    """

    tasks: list[TaskResult] = field(default_factory=list)
    matrix: list[list[float | None]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    further_settings: dict[str, Any] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def upstream(self) -> list[TaskResult]:
        """The tasks of the stream, whose scores are the matrix."""
        return [task for task in self.tasks if task.role == UPSTREAM]

    @property
    def summary(self) -> dict[str, float | None]:
        """The figures of the accuracy matrix; None where one is not defined yet."""
        return {figure.__name__: figure(self.matrix) for figure in FIGURES}

    @property
    def forward_transfer(self) -> dict[str, Alone]:
        """By task what reuse gave it, where it was learned alone as well; not the score before learning.

        Lopez-Paz and Ranzato (2017) call that forward transfer, which `atlas_hf.metrics` computes of a matrix.
        """
        return {task.name: task.alone for task in self.tasks if task.alone is not None}

    @property
    def learned_with(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """The settings that all tasks were learned with, and by task those that they do not share."""
        whole = {task.name: self.settings | task.settings for task in self.tasks}
        first = next(iter(whole.values()), self.settings)
        shared = {key: value for key, value in first.items() if all(one.get(key) == value for one in whole.values())}
        rest = {task: {key: one[key] for key in one if key not in shared} for task, one in whole.items()}
        return shared, {task: one for task, one in rest.items() if one}

    def add(self, task: TaskResult, scores: Sequence[float]) -> None:
        """A task that was learned, with its scores.

        They are an upstream task's row of the matrix (every upstream task so far, its own last), or a downstream
        task's own alone.
        """
        task.score = scores[-1]
        if task.role == UPSTREAM:
            self.matrix = [*([*row, None] for row in self.matrix), list(scores)]
        self.tasks.append(task)

    def rescore(self, name: str, score: float) -> TaskResult:
        """The present score of a task whose model was changed; earlier rows of the matrix are history."""
        task = next(task for task in self.tasks if task.name == name)
        task.score, task.standard_error, task.only_answer, task.alone = score, None, None, None
        if task.role == UPSTREAM:
            self.matrix[-1][self.upstream.index(task)] = score
        return task

    def first(self, count: int) -> Results:
        """Of the first `count` tasks alone."""
        matrix = [row[:count] for row in self.matrix[:count]]
        return replace(self, tasks=self.tasks[:count], matrix=matrix)

    def to_dict(self) -> dict[str, Any]:
        """As `results.json` has it."""
        values = asdict(self)
        for task in values["tasks"]:
            if task["pruned"] is None:
                del task["pruned"]
        measured = {"tasks": values.pop("tasks"), "matrix": values.pop("matrix"), "summary": self.summary}
        measured["forward_transfer"] = self.forward_transfer
        return {"format_version": FORMAT_VERSION, **measured, **values}

    def save(self, folder: Path) -> None:
        """Write `results.json`, whole or not at all."""
        Owned(folder).write_json(folder / RESULTS, self.to_dict())

    @classmethod
    def load(cls, folder: str | Path) -> Results:
        """Read and check `results.json`; of a folder without one, empty results. Raises `AtlasFormatError`.

        Fields that an older version did not write have their defaults; those that it wrote besides are left out.
        """
        folder = Path(folder)
        refuse_links(folder / RESULTS, folder)
        if not (folder / RESULTS).exists():
            return cls()
        values = read_json(folder / RESULTS)
        for key, kind in (("tasks", dict), ("matrix", list)):
            if not isinstance(values.get(key), list) or not all(isinstance(row, kind) for row in values[key]):
                raise AtlasFormatError(f"{RESULTS} has no list of {kind.__name__}s '{key}'. Restore it.")
        parts = ("settings", "further_settings", "description", "environment")
        known = {part: value for part in parts if isinstance(value := values.get(part), dict)}
        results = cls([_task(task) for task in values["tasks"]], values["matrix"], **known)
        check_types(results, RESULTS)
        results._check()
        return results

    def _check(self) -> None:
        for place, task in enumerate(self.tasks):
            task.check(f"{RESULTS}: tasks.{place}")
        count, lengths = len(self.upstream), [len(row) for row in self.matrix]
        if lengths != [count] * count:
            raise AtlasFormatError(
                f"{RESULTS}: matrix has rows of {reprlib.repr(lengths)} for {count} upstream tasks. Restore the file."
            )


def _task(values: Mapping[str, Any]) -> TaskResult:
    if not isinstance(values.get("name"), str):
        raise AtlasFormatError(f"{RESULTS} has a task whose name is {reprlib.repr(values.get('name'))}. Restore it.")
    known = {part.name for part in fields(TaskResult)}
    return TaskResult(**{name: value for name, value in values.items() if name in known})
