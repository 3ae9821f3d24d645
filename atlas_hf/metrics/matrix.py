"""The accuracy matrix, checked, so that the formulas over it can be written as in the papers.

A matrix is rows of equal length: row i holds the scores after learning task i, column j the scores on task j, and None
stands where nothing was measured. Columns without a row are tasks still to be learned.
"""

from collections import defaultdict
from collections.abc import Sequence
from numbers import Real
from statistics import fmean
from typing import Any

Scores = Sequence[float | None]
Matrix = Sequence[Scores]
# Larger is no score; below it, sums and percentages stay finite.
LIMIT = 1e300


class Undefined(Exception):
    """Why a figure has no value."""


class AccuracyMatrix:
    """`R[i, j]`, the score on task j after learning task i; reading a missing one raises `Undefined`.

    Raises a `ValueError` for rows of different lengths, fewer columns than rows, or a cell that is no finite number.
    """

    def __init__(self, rows: Matrix):
        name = "the accuracy matrix"
        self.rows = [numbers(row, f"row {i} of {name}") for i, row in enumerate(_listed(rows, name))]
        lengths = [len(row) for row in self.rows]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"The rows of the accuracy matrix have {lengths} cells. Give every row one cell per task, None for a "
                "score that was not measured."
            )
        if lengths and lengths[0] < len(lengths):
            raise ValueError(
                f"The accuracy matrix has {len(lengths)} rows and {lengths[0]} columns: a row for each task learned "
                "needs a column for each of them, None for a score that was not measured."
            )

    def __getitem__(self, cell: tuple[int, int]) -> float:
        i, j = cell
        if (score := self.rows[i][j]) is None:
            raise Undefined(f"the score on task {j} after learning task {i} is missing")
        return score

    @property
    def tasks(self) -> range:
        """The tasks learned; `Undefined` if there are none."""
        if not self.rows:
            raise Undefined("no task was learned")
        return range(len(self.rows))

    @property
    def earlier(self) -> range:
        """The tasks before the last one learned; `Undefined` if there are none."""
        if len(self.rows) == 1:
            raise Undefined("one task was learned, and it takes two")
        return self.tasks[:-1]

    @property
    def last(self) -> int:
        """The task learned last."""
        return self.tasks[-1]

    @property
    def width(self) -> int:
        """How many tasks have a column."""
        return len(self.rows[0]) if self.rows else 0


class TaskScores:
    """`s[j]`, some score of task j; reading a missing one, or any if `values` is None, raises `Undefined`.

    Raises a `ValueError` for other than `count` values, if that is known, or one that is no finite number.
    """

    def __init__(self, values: Scores | None, name: str, count: int | None = None):
        self._name = name
        self._values = None if values is None else numbers(values, name)
        if None not in (self._values, count) and len(self) != count:
            raise ValueError(
                f"{name} has {len(self)} scores for {count} tasks. Give one per task, None for what is missing."
            )

    @property
    def _given(self) -> list[float | None]:
        if self._values is None:
            raise Undefined(f"{self._name} was not given")
        return self._values

    def __len__(self) -> int:
        return len(self._given)

    def __getitem__(self, task: int) -> float:
        if (score := self._given[task]) is None:
            raise Undefined(f"{self._name} of task {task} is missing")
        return score


def cells(matrix: Matrix) -> dict[str, list]:
    """The measured cells as columns `scores`, `learned` (i) and `evaluated` (j), for `ContinualLearning.compute`."""
    rows = AccuracyMatrix(matrix).rows
    found = [(score, i, j) for i, row in enumerate(rows) for j, score in enumerate(row) if score is not None]
    return {name: [cell[k] for cell in found] for k, name in enumerate(("scores", "learned", "evaluated"))}


def from_cells(scores: Sequence[float], learned: Sequence[int], evaluated: Sequence[int]) -> list[list[float | None]]:
    """The matrix of scored examples: a cell is the mean of its scores, None without any, whatever their order.

    Args:
        scores: of one example each, or of a whole split.
        learned: index of the task that was learned last.
        evaluated: index of the task that the example belongs to.

    Raises:
        ValueError: a score that is no finite number, or a negative index.
    """
    found: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    checked = numbers(scores, "scores")
    for place, (score, i, j) in enumerate(zip(checked, learned, evaluated, strict=True)):
        if score is None or None in (i, j) or i < 0 or j < 0:
            raise ValueError(
                f"Example {place} has score {score}, learned {i} and evaluated {j}. Give a score and two indices of "
                "tasks, counted from 0; leave out what was not measured."
            )
        found[i, j].append(score)
    rows = 1 + max((i for i, _ in found), default=-1)
    columns = 1 + max((max(cell) for cell in found), default=-1)
    return [[fmean(found[i, j]) if (i, j) in found else None for j in range(columns)] for i in range(rows)]


def numbers(values: Scores, name: str) -> list[float | None]:
    """A list of finite floats and None; a `ValueError` gives the place of anything else."""
    checked: list[Any] = _listed(values, name)
    for place, value in enumerate(checked):
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (is_number and abs(value) < LIMIT):
            raise ValueError(
                f"{name} has {value!r} at place {place}. Give finite numbers, None for a score that was not measured."
            )
    return [None if value is None else float(value) for value in checked]


def _listed(values: Sequence, name: str) -> list:
    try:
        return list(values)
    except TypeError:
        raise ValueError(f"{name} is {values!r}, and has to be a list.") from None
