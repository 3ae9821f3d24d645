"""How far the pooled features spread: before (the bare backbone) and after a method has learned the upstream tasks."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from datasets import Dataset

from atlas_hf.benchmark.learning.cells import Representation, State
from atlas_hf.benchmark.methods import LoadedTask, PlainModel
from atlas_hf.training.features import pooled_features

EXAMPLES, POINTS, SPECTRUM = 256, 48, 32
Features = Mapping[str, np.ndarray]  # task -> (rows, D)


def effective_rank(features: np.ndarray) -> float | None:
    """Over how many directions (rows, D) features spread: exp of the entropy of their `spectrum` (Roy and Vetterli
    2007, "The effective rank", eq. 1-3), from 1 (all on a line) to min(rows - 1, D). None if all rows are the same.
    """
    if (shares := spectrum(features)) is None:
        return None
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def spectrum(features: np.ndarray) -> np.ndarray | None:
    """The singular values of the centred features, divided by their sum, largest first; None if all are zero."""
    values = features.astype(np.float64)
    singular = np.linalg.svd(values - values.mean(0), compute_uv=False)
    return singular / singular.sum() if singular.sum() > 1e-9 * max(1.0, np.abs(values).max()) else None


def dispersion(features: np.ndarray) -> float | None:
    """Mean cosine distance of two different rows, from 0 (all in one direction) to about 1 (in no common direction):
    1 minus the mean cosine similarity (Ethayarajh 2019, "How contextual are contextualized word representations?",
    section 4.1: how anisotropic features are). None for fewer than two rows, or a row of zeros.
    """
    n, norms = len(features), np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    if n < 2 or not norms.all():
        return None
    total = (features / norms).sum(0)
    return float(1 - (total @ total - n) / (n * (n - 1)))


def describe(features: Features) -> State:
    """`effective_rank` and `dispersion` of all features together, their `spectrum`, and by task (`tasks`)."""

    def figures(values: np.ndarray) -> dict[str, float | None]:
        return {"effective_rank": effective_rank(values), "dispersion": dispersion(values)}

    together = np.concatenate(list(features.values()))
    shares = spectrum(together)
    return State(
        effective_rank=effective_rank(together),
        dispersion=dispersion(together),
        spectrum=None if shares is None else [round(float(share), 6) for share in shares[:SPECTRUM]],
        tasks={name: figures(values) for name, values in features.items()},
    )


def compare(before: Features, after: Features, points: bool) -> Representation:
    """What a cell holds: `before` and `after`, each as `describe` says, and for the first seed `points` (`plane`)."""
    found = Representation(before=describe(before), after=describe(after))
    if points:
        found["before"]["points"], found["after"]["points"] = plane(before, after)
    return found


def plane(before: Features, after: Features) -> list[dict[str, list[list[float]]]]:
    """Up to `POINTS` rows of each task in the two principal components of both states together: task -> (x, y)."""
    states = [{name: rows[:POINTS].astype(np.float64) for name, rows in state.items()} for state in (before, after)]
    stacked = np.concatenate([rows for state in states for rows in state.values()])
    mean = stacked.mean(0)
    axes = np.linalg.svd(stacked - mean, full_matrices=False)[2][:2].T
    return [{name: np.round((rows - mean) @ axes, 4).tolist() for name, rows in state.items()} for state in states]


def features(pooled: Callable[[str, Dataset], np.ndarray], tasks: Sequence[LoadedTask]) -> Features:
    """Of each task's first `EXAMPLES` test examples; `pooled` gives those of a task and a data set."""
    tests = {spec.name: data["test"] for spec, data in tasks}
    return {name: pooled(name, test.select(range(min(EXAMPLES, len(test))))) for name, test in tests.items()}


def bare_features(backbone: str, tasks: Sequence[LoadedTask], pooling: str | None = None) -> Features:
    """The same of the bare backbone."""
    model = PlainModel(backbone, pooling)
    for spec, _ in tasks:
        model.add_task(spec)

    def pooled(task: str, data: Dataset) -> np.ndarray:
        return pooled_features(model, task, data, batch_size=64)[0].flatten(0, 1).numpy()

    return features(pooled, tasks)
