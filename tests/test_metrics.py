"""Metrics on numbers worked by hand."""

import numpy as np
import pytest

from atlas_hf.metrics import continual, single

MATRIX = [[0.9, None, None], [0.8, 0.7, None], [0.6, 0.75, 0.5]]


def test_matrix_worked_by_hand():
    assert continual.average_accuracy(MATRIX) == pytest.approx((0.6 + 0.75 + 0.5) / 3)
    assert continual.backward_transfer(MATRIX) == pytest.approx(((0.6 - 0.9) + (0.75 - 0.7)) / 2)
    # max over i < T: 0.9 for the first task, 0.7 for the second.
    assert continual.forgetting(MATRIX) == pytest.approx(((0.9 - 0.6) + (0.7 - 0.75)) / 2)


def test_one_task_and_missing_cells():
    assert continual.average_accuracy([[0.5]]) == 0.5
    assert continual.backward_transfer([[0.5]]) is None and continual.forgetting([[0.5]]) is None
    assert continual.average_accuracy([]) is None
    gap = [[0.9, None], [None, 0.7]]
    assert continual.backward_transfer(gap) is None and continual.average_accuracy(gap) is None


def test_single_task_metrics():
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    assert single.accuracy(logits, np.array([0, 0, 0])) == pytest.approx(2 / 3)
    scores = np.array([[0.3, 1.0], [0.0, 0.6], [1.0, 0.0]])
    assert single.soft_accuracy(logits, scores) == pytest.approx((0.3 + 0.6 + 1.0) / 3)
    numbers = np.array([1.0, 2.0, 3.0])
    assert single.pearson(numbers[:, None] * 2 + 1, numbers) == pytest.approx(1)
    assert single.pearson(np.ones((3, 1)), numbers) == 0
