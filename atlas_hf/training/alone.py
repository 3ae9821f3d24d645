"""Did reuse help? The task is learned once more, without it, and both answer the same examples."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from datasets import Dataset
from transformers import set_seed

from atlas_hf.folder import Alone
from atlas_hf.metrics.single import METRIC_FUNCTIONS, SCORES
from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.evidence import answers
from atlas_hf.training.quiet import quiet, train_quietly
from atlas_hf.training.trainer import AtlasTrainer

BEST_STATE = ("eval_strategy", "save_strategy", "load_best_model_at_end", "early_stopping_patience")  # how it is found


def compare_alone(
    model: AtlasModel, task: str, data: Mapping[str, Dataset], args: AtlasTrainingArguments, **config: Any
) -> Alone:
    """A finished task against itself, learned by the same arguments without the others, on the split `test`.

    That takes as long as learning it did; the model is left as it was, and no file is written. What is compared is how
    well each example is answered: for accuracies whether it is right, for a correlation the squared error. The
    standard error knows the examples, and not what other draws of training examples do.

    Args:
        data: the splits `train` and `test`, and `validation` if the task was learned with one.
        config: what it was added with, of `AtlasModel.add_task`.
    """
    spec, size = model.specs[task], args.per_device_eval_batch_size
    metric, scores = METRIC_FUNCTIONS[spec.metric], SCORES[spec.metric]
    with_reuse, labels = answers(model, task, data["test"], size)
    name = next(name for n in count() if (name := f"{task}-alone-{n}") not in model.specs)
    with torch.random.fork_rng():
        try:
            _learn(model, replace(spec, name=name), data, args, config)
            without, _ = answers(model, name, data["test"], size)
        finally:
            model.set_task(task)
            if name in model.tasks:
                model.delete_task(name)
    gains = scores(with_reuse, labels) - scores(without, labels)
    error = float(gains.std(ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else None
    return {"score": metric(without, labels), "gain": float(gains.mean()), "error": error, "examples": len(gains)}


def _learn(
    model: AtlasModel,
    spec: TaskSpec,
    data: Mapping[str, Dataset],
    args: AtlasTrainingArguments,
    config: Mapping[str, Any],
) -> None:
    set_seed(args.seed)
    model.add_task(spec, experience=(), **config)
    with quiet(args) as quiet_args:
        for name in BEST_STATE:
            setattr(quiet_args, name, getattr(args, name))
        train_quietly(AtlasTrainer(model, quiet_args, spec.name, data["train"], data.get("validation")))
