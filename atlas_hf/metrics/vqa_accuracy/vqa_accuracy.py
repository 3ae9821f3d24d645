"""`evaluate` metric of answers to questions about images."""

from statistics import fmean
from typing import Any

import datasets
import evaluate

from atlas_hf.metrics.vqa import vqa_score

_DESCRIPTION = """
VQA accuracy: an answer counts in full if three of the other annotators or more gave it, in part if one or two did.
The configuration `answers` (default) takes answers in words with those of the annotators, and scores them as the
official script does; `soft_labels` takes the index of the predicted answer and the soft score of every answer.
"""
_INPUTS = """
Args:
    predictions: the predicted answers in words, in lower case; with `soft_labels`, their indices.
    references: for each, the annotators' answers, ten in VQA; with `soft_labels`, the soft scores of all answers.
Returns:
    vqa_accuracy: the mean over the predictions, from 0 to 1.
"""
_CITATION = """
@inproceedings{antol2015vqa,
  title = {{VQA}: Visual Question Answering},
  author = {Antol, Stanislaw and Agrawal, Aishwarya and Lu, Jiasen and Mitchell, Margaret and Batra, Dhruv and
            Zitnick, C. Lawrence and Parikh, Devi},
  booktitle = {International Conference on Computer Vision},
  year = {2015}
}
@inproceedings{goyal2017making,
  title = {Making the {V} in {VQA} Matter: Elevating the Role of Image Understanding in Visual Question Answering},
  author = {Goyal, Yash and Khot, Tejas and Summers-Stay, Douglas and Batra, Dhruv and Parikh, Devi},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2017}
}
"""
_COLUMNS = {"answers": ("string", "string"), "soft_labels": ("int64", "float64")}


class VqaAccuracy(evaluate.Metric):
    """VQA accuracy (`atlas_hf.metrics.vqa`) of answers in words, or with `soft_labels` of indices and soft scores."""

    def __init__(self, config_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(config_name or "answers", **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in _COLUMNS:
            raise ValueError(f"VqaAccuracy has no configuration {self.config_name!r}. Give one of {list(_COLUMNS)}.")
        prediction, reference = map(datasets.Value, _COLUMNS[self.config_name])
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": prediction, "references": datasets.List(reference)}),
            homepage="https://visualqa.org/evaluation.html",
            reference_urls=["https://arxiv.org/abs/1505.00468", "https://arxiv.org/abs/1612.00837"],
        )

    def _compute(self, predictions: list, references: list) -> dict[str, float]:
        if not predictions:
            raise ValueError("There is no prediction to score: every batch that was added is empty.")
        score = vqa_score if self.config_name == "answers" else _soft_score
        return {"vqa_accuracy": fmean(map(score, predictions, references))}


def _soft_score(prediction: int, labels: list[float]) -> float:
    if not 0 <= prediction < len(labels) or not 0 <= labels[prediction] <= 1:
        raise ValueError(
            f"The soft scores {labels} give answer {prediction} no score from 0 to 1. Predictions are indices of "
            "answers, references lists with a score for every answer."
        )
    return labels[prediction]
