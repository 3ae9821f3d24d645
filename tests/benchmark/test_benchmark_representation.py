"""Effective rank and dispersion of matrices whose values are known, and the plane both states are drawn in."""

import numpy as np
import pytest

from atlas_hf.benchmark.learning.representation import compare, dispersion, effective_rank, spectrum


def test_effective_rank_of_known_matrices():
    rng = np.random.default_rng(0)
    line = np.outer(np.arange(5.0), [1.0, 2.0, -1.0]) + 7
    assert effective_rank(line) == pytest.approx(1), "an offset is not a direction"
    square = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert effective_rank(square) == pytest.approx(2) == effective_rank(1000 * square)
    assert spectrum(square * [3, 1]) == pytest.approx([0.75, 0.25])
    assert effective_rank(square * [3, 1]) == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))
    assert 15 < effective_rank(rng.normal(size=(4000, 16))) <= 16
    assert effective_rank(np.ones((4, 3))) is None


def test_dispersion_of_known_directions():
    assert dispersion(np.array([[1.0, 1], [2, 2], [5, 5]])) == pytest.approx(0)
    assert dispersion(np.array([[1.0, 0], [0, 3]])) == pytest.approx(1)
    three = np.array([[1.0, 0], [0, 2], [-3, 0]])
    assert dispersion(three) == pytest.approx((1 + 2 + 1) / 3), "distances 1, 2 and 1"
    assert dispersion(np.array([[1.0, 0]])) is None and dispersion(np.zeros((2, 2))) is None


def test_both_states_are_drawn_in_one_plane():
    rows = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])
    found = compare({"a": rows}, {"a": 2 * rows}, points=True)
    before, after = (np.array(found[when]["points"]["a"]) for when in ("before", "after"))
    assert np.abs(before).tolist() == [[3, 0], [3, 0], [0, 1], [0, 1]] and (after == 2 * before).all()
    assert found["before"]["tasks"]["a"]["effective_rank"] == found["after"]["effective_rank"]
