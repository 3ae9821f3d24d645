"""Metrics of one task from logits and labels. Higher is better; all are fractions but `pearson`, in [-1, 1].

Each raises a `FloatingPointError` for logits that are NaN or infinite: the best of them would be a class like another.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def correct(logits: NDArray, labels: NDArray) -> NDArray:
    """Of each example (N,), what `accuracy` is the mean of: logits (N, C), labels (N,)."""
    return (_finite(logits).argmax(-1) == labels).astype(float)


def soft_scores(logits: NDArray, labels: NDArray) -> NDArray:
    """Of each example (N,), what `soft_accuracy` is the mean of: logits and labels (N, C)."""
    return labels[np.arange(len(labels)), _finite(logits).argmax(-1)]


def closeness(logits: NDArray, labels: NDArray) -> NDArray:
    """Of each example (N,), minus the squared error: what stands for a correlation, which is no mean."""
    return -np.square(_finite(logits).reshape(-1).astype(float) - labels)  # float32 has no squares beyond 1e38


def accuracy(logits: NDArray, labels: NDArray) -> float:
    """Share of examples whose best class or choice is the label: logits (N, C), labels (N,)."""
    return float(np.mean(correct(logits, labels)))


def soft_accuracy(logits: NDArray, labels: NDArray) -> float:
    """Mean soft score of the answer given: logits and labels (N, C). VQA's accuracy, with its soft labels."""
    return float(np.mean(soft_scores(logits, labels)))


def pearson(logits: NDArray, labels: NDArray) -> float:
    """Correlation of predictions (N, 1) and numbers (N,); 0 if either is constant."""
    predicted = _finite(logits).reshape(-1)
    if predicted.std() == 0 or labels.std() == 0:
        return 0.0
    return float(np.corrcoef(predicted, labels)[0, 1])


def _finite(logits: NDArray) -> NDArray:
    odd = np.flatnonzero(~np.isfinite(logits).reshape(len(logits), -1).all(1))
    if len(odd):
        raise FloatingPointError(
            f"The answers to {len(odd)} of {len(logits)} examples (the first is row {odd[0]}) are NaN or infinite, so "
            "there is no score. Look for such values in the data and in the model's weights, or train at a lower "
            "learning rate."
        )
    return logits


METRIC_FUNCTIONS: dict[str, Callable[[NDArray, NDArray], float]] = {
    "accuracy": accuracy,
    "soft_accuracy": soft_accuracy,
    "pearson": pearson,
}
# How well each example is answered, by metric.
SCORES: dict[str, Callable[[NDArray, NDArray], NDArray]] = {
    "accuracy": correct,
    "soft_accuracy": soft_scores,
    "pearson": closeness,
}
