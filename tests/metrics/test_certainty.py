"""How sure a score is."""

import numpy as np
import pytest

from atlas_hf.metrics.certainty import constant_score, only_answer, standard_error

LOGITS, LABELS = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]]), np.array([0, 1, 1, 0])


def test_the_standard_error_of_an_accuracy_is_that_of_a_share():
    assert standard_error("accuracy", LOGITS, LABELS) == pytest.approx((0.75 * 0.25 / 3) ** 0.5)
    assert standard_error("accuracy", LOGITS[:1], LABELS[:1]) is None
    soft = np.eye(2)[LABELS] * 0.6
    assert standard_error("soft_accuracy", LOGITS, soft) == pytest.approx(0.6 * (0.75 * 0.25 / 3) ** 0.5)


def test_the_standard_error_of_a_correlation():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 60))
    y = 0.8 * x + 0.6 * rng.normal(size=x.shape)
    found = [np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)]
    told = [standard_error("pearson", a[:, None], b) for a, b in zip(x, y, strict=True)]
    assert np.mean(told) == pytest.approx(np.std(found), rel=0.1)
    assert standard_error("pearson", LOGITS[:2, :1], LABELS[:2]) is None


def test_one_answer_for_all():
    assert constant_score("accuracy", np.array([1, 1, 0, 2])) == 0.5
    assert constant_score("soft_accuracy", np.array([[1.0, 0.3], [0.0, 0.9]])) == pytest.approx(0.6)
    assert constant_score("pearson", np.array([1.0, 2.0])) == 0.0
    assert only_answer(LOGITS) is None and only_answer(LOGITS[2:]) == 0
    assert only_answer(LOGITS[:1]) is None, "one example says nothing"
    assert only_answer(np.array([[0.1], [0.2]])) is None, "a number is no answer out of several"
