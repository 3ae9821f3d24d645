"""Metrics of one task from logits and labels. Higher is better; all are fractions but `pearson`, in [-1, 1]."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def accuracy(logits: NDArray, labels: NDArray) -> float:
    """Share of examples whose best class or choice is the label: logits (N, C), labels (N,)."""
    return float(np.mean(logits.argmax(-1) == labels))


def soft_accuracy(logits: NDArray, labels: NDArray) -> float:
    """Mean soft score of the answer given: logits and labels (N, C). VQA's accuracy, with its soft labels."""
    return float(np.mean(labels[np.arange(len(labels)), logits.argmax(-1)]))


def pearson(logits: NDArray, labels: NDArray) -> float:
    """Correlation of predictions (N, 1) and numbers (N,); 0 if either is constant."""
    predicted = logits.reshape(-1)
    if predicted.std() == 0 or labels.std() == 0:
        return 0.0
    return float(np.corrcoef(predicted, labels)[0, 1])


METRIC_FUNCTIONS: dict[str, Callable[[NDArray, NDArray], float]] = {
    "accuracy": accuracy,
    "soft_accuracy": soft_accuracy,
    "pearson": pearson,
}
