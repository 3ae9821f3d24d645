"""`evaluate` metric of a model that learns tasks one after another."""

from typing import Any

import datasets
import evaluate

from atlas_hf.metrics import continual
from atlas_hf.metrics.matrix import from_cells

_DESCRIPTION = """
Figures of a model that learns tasks one after another, from scores on each task after learning each task: average
accuracy, average incremental accuracy, backward and forward transfer, forgetting, relative forgetting, knowledge
transfer, low-shot transfer, plasticity and stability.
"""
_INPUTS = """
Args:
    scores: score of one example each (1 or 0 for right or wrong, or a soft score), or of a whole split.
    learned: for each score, the index of the task that was learned last, from 0 in the order of learning.
    evaluated: for each score, the index of the task that the example belongs to.
    random_baseline: the score of chance on each task; forward transfer and the figures in percent need it.
    single_task: the score on each task learned alone; knowledge transfer needs it.
    low_shot, bare_low_shot, low_shot_random_baseline: for low-shot transfer, of each downstream task the score after
        learning it from few examples, the same from the bare backbone, and the score of chance.
Returns:
    a dict of the figures, None where one is not defined, and `reasons`, which says why.
"""
_CITATION = """
@inproceedings{lopezpaz2017gem,
  title = {Gradient Episodic Memory for Continual Learning},
  author = {Lopez-Paz, David and Ranzato, Marc'Aurelio},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2017}
}
@inproceedings{chaudhry2018riemannian,
  title = {Riemannian Walk for Incremental Learning: Understanding Forgetting and Intransigence},
  author = {Chaudhry, Arslan and Dokania, Puneet K. and Ajanthan, Thalaiyasingam and Torr, Philip H. S.},
  booktitle = {European Conference on Computer Vision},
  year = {2018}
}
@inproceedings{srinivasan2022climb,
  title = {{CLiMB}: A Continual Learning Benchmark for Vision-and-Language Tasks},
  author = {Srinivasan, Tejas and Chang, Ting-Yun and Pinto Alva, Leticia and Chochlakis, Georgios and
            Rostami, Mohammad and Thomason, Jesse},
  booktitle = {Advances in Neural Information Processing Systems, Datasets and Benchmarks Track},
  year = {2022}
}
"""


class ContinualLearning(evaluate.Metric):
    """Continual-learning figures (`atlas_hf.metrics.continual`) of scored examples.

    The order of the examples, and the process that adds them, make no difference, not in the last bit.
    """

    def _info(self) -> evaluate.MetricInfo:
        columns = {"scores": "float64", "learned": "int64", "evaluated": "int64"}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({name: datasets.Value(dtype) for name, dtype in columns.items()}),
            reference_urls=["https://arxiv.org/abs/1706.08840", "https://arxiv.org/abs/2206.09059"],
        )

    def add(self, *, scores: float, learned: int, evaluated: int) -> None:
        """Add one score."""
        super().add(scores=scores, learned=learned, evaluated=evaluated)

    def add_batch(self, *, scores: list[float], learned: list[int], evaluated: list[int]) -> None:
        """Add scores of any tasks, in any order."""
        if scores is None or learned is None or evaluated is None:
            raise ValueError("A score needs the task learned last and its own: give scores, learned and evaluated.")
        super().add_batch(scores=scores, learned=learned, evaluated=evaluated)

    def _compute(self, scores: list, learned: list, evaluated: list, **baselines: list) -> dict[str, Any]:
        return continual.summary(from_cells(scores, learned, evaluated), **baselines)
