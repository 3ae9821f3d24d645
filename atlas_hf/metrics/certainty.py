"""How sure a score is, and what one answer for all would have scored."""

import numpy as np
from numpy.typing import NDArray

from atlas_hf.metrics.single import SCORES, pearson


def standard_error(metric: str, logits: NDArray, labels: NDArray) -> float | None:
    """Of a metric of `METRIC_FUNCTIONS` on these examples; None where there are too few for one.

    Of a mean, that of the mean of independent examples; of a correlation r, (1 - r²) / √(n - 1).
    """
    count = len(labels)
    if count < (3 if metric == "pearson" else 2):
        return None
    if metric == "pearson":
        return float((1 - pearson(logits, labels) ** 2) / (count - 1) ** 0.5)
    return float(SCORES[metric](logits, labels).std(ddof=1) / count**0.5)


def constant_score(metric: str, labels: NDArray) -> float:
    """What the best answer that is the same for all examples scores: labels (n,), or soft ones (n, C)."""
    if metric == "pearson":
        return 0.0
    if metric == "soft_accuracy":
        return float(labels.mean(0).max())
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def only_answer(logits: NDArray) -> int | None:
    """The class or choice that all of several examples are answered with, logits (n, C); None if there are others."""
    answers = np.unique(logits.argmax(-1))
    return int(answers[0]) if len(answers) == 1 and len(logits) > 1 and logits.shape[-1] > 1 else None
