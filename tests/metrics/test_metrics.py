"""Metrics on numbers worked by hand."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas_hf.metrics import continual, single
from atlas_hf.metrics.matrix import cells, from_cells
from atlas_hf.metrics.vqa import normalize_answer, vqa_score

MATRIX = [[0.9, None, None], [0.8, 0.7, None], [0.6, 0.75, 0.5]]
# With scores on tasks to come. Task 1 is forgotten, learned again in part, and was never better than right after it.
FULL = [[0.8, 0.3, 0.2], [0.6, 0.9, 0.4], [0.7, 0.6, 0.5]]
CHANCE, ALONE = [0.5, 0.25, 0.2], [0.8, 0.75, 0.6]
LOW_SHOT = {"low_shot": [0.6, 0.5], "bare_low_shot": [0.5, 0.55], "low_shot_random_baseline": [0.25, 0.5]}
repeatable = settings(deadline=None, derandomize=True)
BY_HAND = {
    "average_accuracy": 0.6,  # (0.7 + 0.6 + 0.5) / 3
    "average_incremental_accuracy": 2.15 / 3,  # 0.8, (0.6 + 0.9) / 2 = 0.75, (0.7 + 0.6 + 0.5) / 3 = 0.6
    "backward_transfer": -0.2,  # (0.7 - 0.8 = -0.1, 0.6 - 0.9 = -0.3) / 2
    "forward_transfer": 0.125,  # (0.3 - 0.25 = 0.05, 0.4 - 0.2 = 0.2) / 2
    "forgetting": 0.2,  # (max(0.8, 0.6) - 0.7 = 0.1, 0.9 - 0.6 = 0.3) / 2
    "relative_forgetting": (100 / 3 + 600 / 13) / 2,  # 100 x 0.1 / (0.8 - 0.5), 100 x 0.3 / (0.9 - 0.25)
    "knowledge_transfer": 5 / 3,  # 100 x (0 / 0.3, 0.15 / 0.5, -0.1 / 0.4) = 0, 30, -25; over 3
    "low_shot_transfer": -30,  # 100 x (0.1 / 0.25, -0.05 / 0.05) = 40, -100; over 2
    "plasticity": 2.2 / 3,  # (0.8 + 0.9 + 0.5) / 3
    "stability": 0.65,  # (0.7 + 0.6) / 2
}


def test_every_figure_worked_by_hand():
    summary = continual.summary(FULL, CHANCE, ALONE, **LOW_SHOT)
    assert summary.pop("reasons") == {}
    assert summary == pytest.approx(BY_HAND)


def test_matrix_without_scores_on_tasks_to_come():
    assert continual.average_accuracy(MATRIX) == pytest.approx((0.6 + 0.75 + 0.5) / 3)
    assert continual.backward_transfer(MATRIX) == pytest.approx(((0.6 - 0.9) + (0.75 - 0.7)) / 2)
    # max over i < T: 0.9 for the first task, 0.7 for the second.
    assert continual.forgetting(MATRIX) == pytest.approx(((0.9 - 0.6) + (0.7 - 0.75)) / 2)
    assert continual.forward_transfer(MATRIX, CHANCE) is None
    why = continual.reason(continual.forward_transfer, MATRIX, CHANCE)
    assert why == "the score on task 1 after learning task 0 is missing"


def test_the_best_earlier_score_counts_for_forgetting_not_the_first():
    # Best before the end 0.9, after the second task: 0.9 - 0.5; backward transfer looks at 0.6 instead.
    matrix = [[0.6, 0, 0], [0.9, 0.8, 0], [0.5, 0.8, 0.7]]
    assert continual.forgetting(matrix) == pytest.approx(0.4 / 2)
    assert continual.backward_transfer(matrix) == pytest.approx(-0.1 / 2)


def test_two_tasks():
    summary = continual.summary([[0.9, 0.3], [0.8, 0.7]], [0.5, 0.2], [0.9, 0.6])
    assert summary["forgetting"] == pytest.approx(0.1) and summary["backward_transfer"] == pytest.approx(-0.1)
    assert summary["forward_transfer"] == pytest.approx(0.3 - 0.2)
    assert summary["relative_forgetting"] == pytest.approx(100 * 0.1 / 0.4)
    assert summary["knowledge_transfer"] == pytest.approx((0 + 100 * 0.1 / 0.4) / 2)
    assert summary["stability"] == 0.8 and summary["plasticity"] == pytest.approx(0.8)
    assert summary["reasons"] == {"low_shot_transfer": "low_shot was not given"}


def test_one_task():
    summary = continual.summary([[0.5]], [0.25], [0.5])
    assert summary["average_accuracy"] == summary["average_incremental_accuracy"] == summary["plasticity"] == 0.5
    assert summary["knowledge_transfer"] == 0
    takes_two = ["backward_transfer", "forward_transfer", "forgetting", "relative_forgetting", "stability"]
    assert all(summary[name] is None for name in takes_two)
    assert [summary["reasons"][name] for name in takes_two] == ["one task was learned, and it takes two"] * 5


def test_no_task():
    summary = continual.summary([], [], [])
    reasons = summary.pop("reasons")
    assert set(summary.values()) == {None} and reasons.pop("low_shot_transfer") == "low_shot was not given"
    assert set(reasons.values()) == {"no task was learned"}
    assert continual.reason(continual.low_shot_transfer, [], [], []) == "there is no low-shot task"


def test_missing_cells():
    gap = [[0.9, None], [None, 0.7]]
    assert continual.backward_transfer(gap) is None and continual.average_accuracy(gap) is None
    assert continual.plasticity(gap) == pytest.approx(0.8)
    assert continual.reason(continual.average_accuracy, gap) == "the score on task 0 after learning task 1 is missing"
    assert continual.reason(continual.plasticity, gap) is None
    assert continual.relative_forgetting(FULL, [None, 0.25, 0.2]) is None
    why = continual.reason(continual.relative_forgetting, FULL, [None, 0.25, 0.2])
    assert why == "random_baseline of task 0 is missing"


@pytest.mark.parametrize("chance", [0.8, 0.9])
def test_a_task_at_chance_is_undefined(chance):
    random, low_shot = [chance, 0.25, 0.2], ([0.9], [0.8], [chance])
    assert continual.relative_forgetting(FULL, random) is None
    assert continual.knowledge_transfer(FULL, ALONE, random) is None
    assert continual.low_shot_transfer(*low_shot) is None
    why = f"task 0 is not above chance: 0.8 against {chance}"
    assert continual.reason(continual.relative_forgetting, FULL, random) == why
    assert continual.reason(continual.knowledge_transfer, FULL, ALONE, random) == why
    assert continual.reason(continual.low_shot_transfer, *low_shot) == why


def test_a_task_hardly_above_chance_is_never_infinite():
    assert math.isfinite(continual.relative_forgetting(FULL, [math.nextafter(0.8, 0), 0.25, 0.2]))
    assert continual.low_shot_transfer([1.0], [5e-324], [0.0]) is None


def test_summary_is_json_and_numpy_is_taken():
    summary = continual.summary(np.array(FULL), np.array(CHANCE), np.array(ALONE), *map(np.array, LOW_SHOT.values()))
    assert summary == continual.summary(FULL, CHANCE, ALONE, *LOW_SHOT.values())
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.9], [0.8, 0.7]], r"rows of the accuracy matrix have \[1, 2\] cells"),
        ([[0.9], [0.8]], "has 2 rows and 1 columns"),
        ([[0.9, "a"], [0.8, 0.7]], "row 0 of the accuracy matrix has 'a' at place 1. Give finite numbers, None"),
        ([[0.9, None], [math.nan, 0.7]], "row 1 of the accuracy matrix has nan at place 0"),
        ([[math.inf]], "has inf at place 0"),
        ([[True]], "has True at place 0"),
        (["a"], "row 0 of the accuracy matrix has 'a'"),
        ([0.5], "row 0 of the accuracy matrix is 0.5, and has to be a list"),
        (None, "the accuracy matrix is None, and has to be a list"),
    ],
)
def test_malformed_matrices(matrix, message):
    for figure in (continual.average_accuracy, continual.forgetting, continual.summary, cells):
        with pytest.raises(ValueError, match=message):
            figure(matrix)


def test_malformed_baselines():
    with pytest.raises(ValueError, match="random_baseline has 2 scores for 3 tasks. Give one per task"):
        continual.relative_forgetting(FULL, [0.5, 0.5])
    with pytest.raises(ValueError, match="single_task has nan at place 0"):
        continual.summary(FULL, CHANCE, [math.nan, 0.5, 0.5])
    with pytest.raises(ValueError, match="bare_low_shot has 1 scores for 2 tasks"):
        continual.low_shot_transfer([0.5, 0.5], [0.5], [0.2, 0.2])


def test_columns_of_tasks_to_come_count_for_no_figure_but_forward_transfer():
    begun = [[*row[:2], 0.4] for row in FULL[:2]]
    for figure in (continual.average_accuracy, continual.forgetting, continual.plasticity, continual.stability):
        assert figure(begun) == figure([row[:2] for row in FULL[:2]])


SCORE, CELL = st.floats(0, 1), st.floats(0, 1) | st.none()


@st.composite
def matrices(draw, cell=CELL):
    size = draw(st.integers(1, 4))
    return draw(st.lists(st.lists(cell, min_size=size, max_size=size), min_size=size, max_size=size))


@repeatable
@given(matrices(), st.data())
def test_finite_or_none_with_a_reason_and_arguments_stay(matrix, data):
    draw = st.lists(CELL, min_size=len(matrix), max_size=len(matrix))
    arguments = [matrix, *(data.draw(draw) for _ in range(5))]
    before = copy.deepcopy(arguments)
    summary = continual.summary(*arguments)
    assert arguments == before
    reasons = summary.pop("reasons")
    assert set(reasons) == {name for name, value in summary.items() if value is None}
    assert all(math.isfinite(value) for value in summary.values() if value is not None)


@repeatable
@given(matrices(SCORE))
def test_what_holds_of_every_full_matrix(matrix):
    size, last = len(matrix), matrix[-1][-1]
    stability, forgetting = continual.stability(matrix), continual.forgetting(matrix)
    if size == 1:
        assert stability is None
        return
    assert size * continual.average_accuracy(matrix) == pytest.approx((size - 1) * stability + last)
    early = (size * continual.plasticity(matrix) - last) / (size - 1)
    assert continual.backward_transfer(matrix) == pytest.approx(stability - early)
    assert forgetting >= -continual.backward_transfer(matrix) - 1e-12
    assert -1 <= forgetting <= 1


@repeatable
@given(st.lists(st.floats(0.51, 1), min_size=2, max_size=5))
def test_nothing_is_forgotten_when_rows_repeat(row):
    size = len(row)
    matrix = [row[: i + 1] + [None] * (size - i - 1) for i in range(size)]
    assert continual.forgetting(matrix) == continual.backward_transfer(matrix) == 0
    assert continual.relative_forgetting(matrix, [0.5] * size) == 0
    assert continual.knowledge_transfer(matrix, row, [0.5] * size) == 0
    assert continual.plasticity(matrix) == continual.average_accuracy(matrix)


def test_percentages_do_not_depend_on_the_unit():
    percent = [[100 * score for score in row] for row in FULL]
    chance, alone = [100 * score for score in CHANCE], [100 * score for score in ALONE]
    assert continual.relative_forgetting(percent, chance) == pytest.approx(BY_HAND["relative_forgetting"])
    assert continual.knowledge_transfer(percent, alone, chance) == pytest.approx(BY_HAND["knowledge_transfer"])


def test_cells_are_means_of_scores_in_any_order():
    columns = {"scores": [1, 0.3, 0, 1, 1], "learned": [0, 1, 0, 1, 0], "evaluated": [0, 1, 0, 0, 0]}
    matrix = [[2 / 3, None], [1.0, 0.3]]
    assert from_cells(**columns) == matrix
    assert from_cells(**{name: values[::-1] for name, values in columns.items()}) == matrix
    assert from_cells([], [], []) == []


@repeatable
@given(matrices(SCORE))
def test_a_matrix_and_its_cells_are_the_same(matrix):
    assert from_cells(**cells(matrix)) == matrix


def test_missing_cells_are_left_out():
    assert cells(MATRIX) == {
        "scores": [0.9, 0.8, 0.7, 0.6, 0.75, 0.5],
        "learned": [0, 1, 1, 2, 2, 2],
        "evaluated": [0, 0, 1, 0, 1, 2],
    }
    assert from_cells(**cells(MATRIX)) == MATRIX


def test_malformed_cells():
    with pytest.raises(ValueError, match="scores has nan at place 1"):
        from_cells([0.5, math.nan], [0, 0], [0, 0])
    with pytest.raises(ValueError, match="Example 1 has score 0.5, learned -1 and evaluated 0. Give a score and two"):
        from_cells([0.5, 0.5], [0, -1], [0, 0])
    with pytest.raises(ValueError, match="Example 0 has score None, learned 0 and evaluated 0.*leave out"):
        from_cells([None], [0], [0])


def test_single_task_metrics():
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    assert single.accuracy(logits, np.array([0, 0, 0])) == pytest.approx(2 / 3)
    scores = np.array([[0.3, 1.0], [0.0, 0.6], [1.0, 0.0]])
    assert single.soft_accuracy(logits, scores) == pytest.approx((0.3 + 0.6 + 1.0) / 3)
    numbers = np.array([1.0, 2.0, 3.0])
    assert single.pearson(numbers[:, None] * 2 + 1, numbers) == pytest.approx(1)
    assert single.pearson(np.ones((3, 1)), numbers) == 0


@pytest.mark.parametrize(("same", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_vqa_scores_of_ten_annotators(same, score):
    # Two of ten: without one of these two 1/3, without another 2/3; (2 x 1/3 + 8 x 2/3) / 10 = 0.6.
    assert vqa_score("cat", ["cat"] * same + [f"dog {i}" for i in range(10 - same)]) == pytest.approx(score)


@repeatable
@given(st.integers(4, 12), st.data())
def test_vqa_score_is_the_mean_over_those_who_are_left_out(count, data):
    answers = data.draw(st.lists(st.sampled_from(["red", "blue", "green"]), min_size=count, max_size=count))
    left_out = [min((answers[:i] + answers[i + 1 :]).count("red") / 3, 1) for i in range(count)]
    assert vqa_score("red", answers) == pytest.approx(sum(left_out) / count)


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The Dog", "dog"),
        ("two dogs and a cat", "2 dogs and cat"),
        ("none", "0"),
        ("t-shirt", "t shirt"),  # no space beside the mark
        ("red, white - blue", "red white blue"),
        ("1,000", "1000"),
        ("3.5 in.", "3.5 in"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("dog's", "dog's"),
        ("a", ""),
    ],
)
def test_answers_are_normalized_as_in_the_official_script(answer, normal):
    assert normalize_answer(answer) == normal


def test_vqa_answers_are_compared_as_they_are_where_all_agree():
    assert vqa_score("Yes", ["yes"] * 9 + ["no"]) == 1
    assert vqa_score("Yes", ["yes"] * 10) == 0
    assert vqa_score(" yes\n", ["yes\t"] * 10) == 1


@pytest.mark.parametrize("answers", [["yes"] * 3, [], "yes no yes no"])
def test_vqa_needs_annotators(answers):
    with pytest.raises(ValueError, match="VQA accuracy needs at least 4 annotators' answers, ten in VQA"):
        vqa_score("yes", answers)
