"""Continual-learning metrics of an accuracy matrix `R[i][j]`: the score on task j after learning task i.

Missing cells are None. Every function returns None where the figure is not defined, never infinity.
"""

from __future__ import annotations

from collections.abc import Sequence

Matrix = Sequence[Sequence[float | None]]


def average_accuracy(matrix: Matrix) -> float | None:
    """Mean of the last row: all tasks, after the last was learned (Lopez-Paz and Ranzato 2017)."""
    return _mean(list(matrix[-1][: len(matrix)])) if matrix else None


def backward_transfer(matrix: Matrix) -> float | None:
    """Mean of `R[T,j] - R[j,j]` over the earlier tasks (Lopez-Paz and Ranzato 2017). None for one task."""
    last = len(matrix) - 1
    return _mean([_minus(matrix[last][j], matrix[j][j]) for j in range(last)])


def forgetting(matrix: Matrix) -> float | None:
    """Mean of `max_i R[i,j] - R[T,j]`, i from j to T - 1 (Chaudhry et al. 2018). None for one task."""
    last = len(matrix) - 1
    best = [[matrix[i][j] for i in range(j, last)] for j in range(last)]
    return _mean([_minus(None if None in cells else max(cells), matrix[last][j]) for j, cells in enumerate(best)])


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _mean(values: list[float | None]) -> float | None:
    return None if not values or None in values else sum(values) / len(values)
