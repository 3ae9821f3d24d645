"""Metrics of one task from logits and labels. Higher is better; all are fractions but `pearson`, in [-1, 1].

Each raises a `FloatingPointError` for logits that are NaN or infinite: the best of them would be a class like another.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def accuracy(logits: NDArray, labels: NDArray) -> float:
    """Share of examples whose best class or choice is the label: logits (N, C), labels (N,)."""
    return float(np.mean(_finite(logits).argmax(-1) == labels))


def soft_accuracy(logits: NDArray, labels: NDArray) -> float:
    """Mean soft score of the answer given: logits and labels (N, C). VQA's accuracy, with its soft labels."""
    return float(np.mean(labels[np.arange(len(labels)), _finite(logits).argmax(-1)]))


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
