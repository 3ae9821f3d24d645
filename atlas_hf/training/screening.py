"""Which earlier tasks help a new one? Asked before anything is trained, of a linear probe on pooled features.

A backbone's features with an adapter switched on are good for a task if a ridge regression on them predicts the
task's labels for examples that it has not seen. The price is a few forward passes over at most 256 examples.
"""

from collections.abc import Collection, Sequence

import torch
from datasets import Dataset
from torch import Tensor

from atlas_hf.model import AtlasModel, evaluating
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.probe import probe_error, regression, sample

MIN_GAIN = 0.05  # of the error; below it a difference between adapters is taken for chance


def open_useful(model: AtlasModel, task: str, dataset: Dataset, seed: int = 0) -> list[str]:
    """Start a task's queries near the adapters that help it, and away from the others.

    Greedy: of all earlier adapters the one that lowers the probe's error most is opened, then the next beside it,
    until none lowers it by 5 %. An opened adapter's queries start from N(0, 1), a coefficient of about 0.5; the others
    stay opposed to their keys, about 0.05 (see `AtlasConfig.init_queries`).

    Args:
        model: with the task in its first stage, its queries as they were drawn (`init_queries="screened"`).
        dataset: the task's training examples; at most 256, drawn by `seed`, are used.

    Returns the opened tasks, the most useful first.
    """
    starts = {site: site.query_starts(task) for site in model.base_model.sites_of(task).values()}
    spec = model.specs[task]
    inputs, labels = sample(model, spec, dataset, seed)

    def start(opened: Collection[int]) -> None:
        for site, queries in starts.items():
            site.start_queries(task, queries, opened)

    def error(opened: Collection[int]) -> float:
        start(opened)
        return _error(model, task, spec, inputs, labels)

    names, lowest = model.peft_config[task].experience, error(())
    opened: list[int] = []
    while len(opened) < len(names):
        errors = {k: error([*opened, k]) for k in range(len(names)) if k not in opened}
        best = min(errors, key=errors.__getitem__)
        if errors[best] > lowest * (1 - MIN_GAIN):
            break
        opened, lowest = [*opened, best], errors[best]
    start(opened)
    return [names[k] for k in opened]


def most_useful(
    model: AtlasModel,
    spec: TaskSpec,
    dataset: Dataset,
    limit: int | None,
    tasks: Sequence[str] | None = None,
    seed: int = 0,
) -> list[str]:
    """The earlier tasks whose models suit a new task best, for `model.add_task(spec, experience=...)`.

    With a limit, what a task costs to train and to compute does not grow with the number of tasks before it; what does
    is this choice, one forward pass over at most 256 examples for each of them.

    Args:
        spec: the new task, which the model does not hold yet.
        dataset: its training examples; at most 256, drawn by `seed`, are used.
        limit: how many to choose of `tasks`, by default all that are finished; None for all.

    Returns:
        The `limit` tasks with the lowest error of a ridge regression on their pooled features (`probe_error`), in the
        order in which they were learned; all of them, and nothing is computed, if there are no more.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"The limit is {limit}; give how many earlier tasks to reuse, 0 or more.")
    tasks = model.finished if tasks is None else list(tasks)
    if limit is None or len(tasks) <= limit:
        return tasks
    if limit == 0:
        return []
    inputs, labels = sample(model, spec, dataset, seed)
    errors = {task: _error(model, task, spec, inputs, labels) for task in tasks}
    best = sorted(tasks, key=errors.__getitem__)[:limit]
    return [task for task in tasks if task in best]


def _error(model: AtlasModel, task: str, spec: TaskSpec, inputs: list[dict[str, Tensor]], labels: Tensor) -> float:
    """The probe's error at a task `spec`, on the features that the adapters of `task` give."""
    with torch.no_grad(), evaluating(model) as twin:
        pooled = torch.cat([twin.pooled(task, **batch) for batch in inputs])
    return probe_error(*regression(spec, pooled.double().cpu(), labels.cpu()))
