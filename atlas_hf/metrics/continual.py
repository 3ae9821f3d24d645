"""Continual-learning figures of an accuracy matrix `R[i][j]`: the score on task j after learning task i.

Every function returns None where its figure is not defined, never infinity, and `reason` says why. Formulas count
tasks from 0; `T` is the last one learned. Scores may have any unit, the same throughout. A malformed argument is a
ValueError (see `atlas_hf.metrics.matrix`); no argument is changed.

`random_baseline` holds the score of chance (of an untrained model) on each task, one per column of the matrix;
`single_task` the score on each task learned alone, from the bare backbone.
"""

from collections.abc import Callable
from functools import wraps
from inspect import unwrap
from statistics import fmean
from typing import Any, ParamSpec

from atlas_hf.metrics.matrix import LIMIT, AccuracyMatrix, Matrix, Scores, TaskScores, Undefined

Arguments = ParamSpec("Arguments")
Figure = Callable[Arguments, float | None]


def _figure(formula: Figure[Arguments]) -> Figure[Arguments]:
    """A formula that raises `Undefined` as a function that returns None instead."""

    @wraps(formula)
    def figure(*args: Arguments.args, **kwargs: Arguments.kwargs) -> float | None:
        try:
            return formula(*args, **kwargs)
        except Undefined:
            return None

    return figure


def reason(figure: Figure[Arguments], *args: Arguments.args, **kwargs: Arguments.kwargs) -> str | None:
    """Why a figure of this module is None for these arguments; None if it has a value."""
    try:
        unwrap(figure)(*args, **kwargs)
    except Undefined as why:
        return str(why)
    return None


@_figure
def average_accuracy(matrix: Matrix) -> float | None:
    """Mean of the last row: all tasks, after the last was learned (Lopez-Paz and Ranzato 2017)."""
    R = AccuracyMatrix(matrix)
    return fmean(R[R.last, j] for j in R.tasks)


@_figure
def average_incremental_accuracy(matrix: Matrix) -> float | None:
    """Mean over i of the mean of `R[i,0] ... R[i,i]`: the average accuracy all along (Rebuffi et al. 2017, iCaRL)."""
    R = AccuracyMatrix(matrix)
    return fmean(fmean(R[i, j] for j in range(i + 1)) for i in R.tasks)


@_figure
def backward_transfer(matrix: Matrix) -> float | None:
    """Mean of `R[T,j] - R[j,j]` over the earlier tasks (Lopez-Paz and Ranzato 2017)."""
    R = AccuracyMatrix(matrix)
    return fmean(R[R.last, j] - R[j, j] for j in R.earlier)


@_figure
def forward_transfer(matrix: Matrix, random_baseline: Scores | None) -> float | None:
    """Mean of `R[j-1,j] - b[j]` from the second task on, `b` the baseline (Lopez-Paz and Ranzato 2017, GEM)."""
    R = AccuracyMatrix(matrix)
    b = TaskScores(random_baseline, "random_baseline", R.width)
    return fmean(R[j, j + 1] - b[j + 1] for j in R.earlier)


@_figure
def forgetting(matrix: Matrix) -> float | None:
    """Mean of `max_i R[i,j] - R[T,j]`, i from j to T - 1, over the earlier tasks (Chaudhry et al. 2018)."""
    R = AccuracyMatrix(matrix)
    return fmean(max(R[i, j] for i in range(j, R.last)) - R[R.last, j] for j in R.earlier)


@_figure
def relative_forgetting(matrix: Matrix, random_baseline: Scores | None) -> float | None:
    """Mean of `100 (R[j,j] - R[T,j]) / (R[j,j] - random[j])` over the earlier tasks, in percent.

    CLiMB's forgetting (Srinivasan et al. 2022; `catastrophic_forgetting_eval` of its code) after the last task: 100 is
    back at chance. Undefined if a task was learned no better than chance.
    """
    R = AccuracyMatrix(matrix)
    random = TaskScores(random_baseline, "random_baseline", R.width)
    return fmean(_percent(R[j, j] - R[R.last, j], R[j, j], random[j], j) for j in R.earlier)


@_figure
def knowledge_transfer(matrix: Matrix, single_task: Scores | None, random_baseline: Scores | None) -> float | None:
    """Mean of `100 (R[i,i] - single[i]) / (single[i] - random[i])` over all tasks, in percent.

    CLiMB's upstream knowledge transfer (Srinivasan et al. 2022; `upstream_knowledge_transfer_eval` of its code, which
    has the first task in, too). Undefined if a task learned alone is no better than chance.
    """
    R = AccuracyMatrix(matrix)
    single = TaskScores(single_task, "single_task", R.width)
    random = TaskScores(random_baseline, "random_baseline", R.width)
    return fmean(_percent(R[i, i] - single[i], single[i], random[i], i) for i in R.tasks)


@_figure
def low_shot_transfer(
    low_shot: Scores | None, bare_low_shot: Scores | None, random_baseline: Scores | None
) -> float | None:
    """Mean of `100 (low_shot[j] - bare[j]) / (bare[j] - random[j])` over downstream tasks, in percent.

    CLiMB's low-shot transfer (Srinivasan et al. 2022): each task learned from few examples by the model after the
    upstream tasks (`low_shot`), and from the bare backbone; `random_baseline` is that of these tasks. Undefined if a
    task learned from the bare backbone is no better than chance.
    """
    after = TaskScores(low_shot, "low_shot")
    before = TaskScores(bare_low_shot, "bare_low_shot", len(after))
    random = TaskScores(random_baseline, "random_baseline of the low-shot tasks", len(after))
    if not len(after):
        raise Undefined("there is no low-shot task")
    return fmean(_percent(after[j] - before[j], before[j], random[j], j) for j in range(len(after)))


@_figure
def plasticity(matrix: Matrix) -> float | None:
    """Mean of the diagonal: each task once learned (Sarfraz et al. 2022; learning accuracy of Riemer et al. 2019)."""
    R = AccuracyMatrix(matrix)
    return fmean(R[i, i] for i in R.tasks)


@_figure
def stability(matrix: Matrix) -> float | None:
    """Mean of the last row without its last task: the earlier tasks in the end (Sarfraz et al. 2022, SYNERgy)."""
    R = AccuracyMatrix(matrix)
    return fmean(R[R.last, j] for j in R.earlier)


def summary(
    matrix: Matrix,
    random_baseline: Scores | None = None,
    single_task: Scores | None = None,
    low_shot: Scores | None = None,
    bare_low_shot: Scores | None = None,
    low_shot_random_baseline: Scores | None = None,
) -> dict[str, Any]:
    """Every figure of this module by its name, and under `reasons`, by name, why those that are None are None.

    The last three arguments are those of `low_shot_transfer`, of the downstream tasks.
    """
    calls: dict[Callable[..., float | None], tuple[Any, ...]] = {
        average_accuracy: (matrix,),
        average_incremental_accuracy: (matrix,),
        backward_transfer: (matrix,),
        forward_transfer: (matrix, random_baseline),
        forgetting: (matrix,),
        relative_forgetting: (matrix, random_baseline),
        knowledge_transfer: (matrix, single_task, random_baseline),
        low_shot_transfer: (low_shot, bare_low_shot, low_shot_random_baseline),
        plasticity: (matrix,),
        stability: (matrix,),
    }
    values = {figure.__name__: figure(*arguments) for figure, arguments in calls.items()}
    reasons = {figure.__name__: reason(figure, *arguments) for figure, arguments in calls.items()}
    return values | {"reasons": {name: why for name, why in reasons.items() if why is not None}}


def _percent(change: float, reference: float, chance: float, task: int) -> float:
    above = reference - chance
    if above <= 0 or abs(100 * change / above) >= LIMIT:
        raise Undefined(f"task {task} is not above chance: {reference} against {chance}")
    return 100 * change / above
