"""Which earlier tasks help a new one? Asked before anything is trained, of a linear probe on pooled features.

A backbone's features with an adapter switched on are good for a task if a ridge regression on them predicts the
task's labels for examples that it has not seen. The price is a few forward passes over at most 256 examples.
"""

from collections.abc import Collection, Sequence

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import one_hot

from atlas_hf.data import AtlasCollator, batches
from atlas_hf.model import AtlasModel, evaluating
from atlas_hf.tasks import TaskSpec

EXAMPLES, BATCH_SIZE = 256, 64
MIN_GAIN = 0.05  # of the error; below it a difference between adapters is taken for chance
FOLDS = 5
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


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
    inputs, labels = _sample(model, spec, dataset, seed)

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
    inputs, labels = _sample(model, spec, dataset, seed)
    errors = {task: _error(model, task, spec, inputs, labels) for task in tasks}
    best = sorted(tasks, key=errors.__getitem__)[:limit]
    return [task for task in tasks if task in best]


def probe_error(features: Tensor, targets: Tensor) -> float:
    """Squared error of ridge regression at left-out examples, as a share of that of the mean; the best penalty's.

    Features (n, R, D), R rows per example that are left out together, and targets (n, R, C), in random order.
    Penalties are shares of the summed squared length of the centred features.
    """
    folds = min(FOLDS, len(features))
    if folds < 2:
        return 1.0
    fold = torch.arange(len(features)) % folds
    errors, mean_error = torch.zeros(len(PENALTIES)), targets.new_zeros(())
    for held_out in (fold == i for i in range(folds)):
        x, y = features[~held_out].flatten(0, 1), targets[~held_out].flatten(0, 1)
        new_x, new_y = features[held_out].flatten(0, 1) - x.mean(0), targets[held_out].flatten(0, 1) - y.mean(0)
        x, y = x - x.mean(0), y - y.mean(0)
        left, singular, right = torch.linalg.svd(x, full_matrices=False)
        for i, penalty in enumerate(PENALTIES):
            shrink = singular / (singular.square() + penalty * singular.square().sum()).clamp_min(1e-12)
            errors[i] += (new_y - new_x @ right.T @ (shrink[:, None] * (left.T @ y))).square().sum()
        mean_error += new_y.square().sum()
    return (errors.min() / mean_error.clamp_min(1e-12)).item()


def _error(model: AtlasModel, task: str, spec: TaskSpec, inputs: list[dict[str, Tensor]], labels: Tensor) -> float:
    """The probe's error at a task `spec`, on the features that the adapters of `task` give."""
    with torch.no_grad(), evaluating(model) as twin:
        pooled = torch.cat([twin.pooled(task, **batch) for batch in inputs])
    return probe_error(*_regression(spec, pooled.double().cpu(), labels.cpu()))


def _sample(model: AtlasModel, spec: TaskSpec, dataset: Dataset, seed: int) -> tuple[list[dict[str, Tensor]], Tensor]:
    """Inputs of a sample of the examples, in batches, and its labels."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:EXAMPLES].tolist()
    collate = AtlasCollator(spec, model.preprocessor)
    found = list(batches(dataset.select(order), collate, BATCH_SIZE, model.device))
    return found, torch.cat([batch.pop("labels") for batch in found])


def _regression(spec: TaskSpec, pooled: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A task as a regression: features (n, R, D') and targets (n, R, C).

    Images of a pair are joined. Choices are rows of their own, as far as they differ from the example's mean choice.
    """
    if spec.choices_column:
        choices = pooled.unflatten(0, (len(labels), -1))
        targets = one_hot(labels.long(), choices.shape[1]).double() - 1 / choices.shape[1]
        return choices - choices.mean(1, keepdim=True), targets[..., None]
    features = pooled.reshape(len(labels), 1, -1)
    if labels.is_floating_point():
        return features, labels.double().reshape(len(labels), 1, -1)
    return features, one_hot(labels.long(), spec.num_labels).double()[:, None]
