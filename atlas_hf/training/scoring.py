"""The score of a task on its test examples, and how much it says."""

from copy import copy
from typing import Any

import numpy as np
from datasets import Dataset
from transformers.trainer_utils import EvalPrediction

from atlas_hf.folder import TaskResult
from atlas_hf.metrics.certainty import constant_score, only_answer, standard_error
from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.task_trainer import evaluate_task


def measure(model: AtlasModel, result: TaskResult, dataset: Dataset, args: AtlasTrainingArguments) -> float:
    """The task's own metric on a split, in one pass; `result` is told what the score is worth."""
    spec, found = model.specs[result.name], dict[str, Any]()

    def further(prediction: EvalPrediction) -> dict[str, float]:
        logits, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        found["test_examples"] = len(labels)
        found["standard_error"] = standard_error(spec.metric, logits, labels)
        found["chance"] = constant_score(spec.metric, labels)
        found["only_answer"] = _label(spec, only_answer(logits))
        return {}

    args = copy(args)
    args.eval_do_concat_batches = True
    metrics = evaluate_task(model, result.name, dataset, args, compute_metrics=further)
    for name, value in found.items():
        setattr(result, name, value)
    return metrics[spec.metric]


def _label(spec: TaskSpec, answer: int | None) -> str | None:
    """As a reader knows it."""
    if answer is None:
        return None
    return spec.label_names[answer] if spec.label_names else f"choice {answer + 1}"
