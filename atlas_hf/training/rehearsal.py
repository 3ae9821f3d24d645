"""Would an adapter help? Rehearsed on parts of the examples, where there are too few to hold any out."""

import time
from collections.abc import Callable

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import set_seed

from atlas_hf.model import AtlasModel
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.console import duration
from atlas_hf.training.evidence import answer_scores
from atlas_hf.training.quiet import quiet, train_quietly
from atlas_hf.training.task_trainer import TaskTrainer

FOLDS = 3


def rehearse(
    model: AtlasModel,
    task: str,
    examples: Dataset,
    args: AtlasTrainingArguments,
    learn_head: Callable[[Dataset], None],
    tell: Callable[[str], None],
) -> tuple[NDArray, NDArray]:
    """How well each example is answered by a task that has not learned from it: three-fold cross-validation.

    Each time, the head and then the own adapter are learned from two thirds, in as many steps as from all. The task is
    left as it was, in its stage `"expansion"`.

    Args:
        learn_head: learns the task's head from examples, the own adapter taking no part.
        tell: what is said of each part when it is done.

    Returns:
        Scores (n,) with the head alone, and with the adapter, of the same examples.
    """
    tensors = model.base_model.task_tensors(task)
    start = {key: tensor.detach().clone() for key, tensor in tensors.items()}
    folds = np.array_split(np.random.default_rng(args.seed).permutation(len(examples)), FOLDS)
    found = []
    try:
        for part, fold in enumerate(folds, 1):
            began = time.perf_counter()
            seen, unseen = (
                examples.select(np.sort(rows)) for rows in (np.setdiff1d(range(len(examples)), fold), fold)
            )
            learn_head(seen)
            before = answer_scores(model, task, unseen, args.per_device_eval_batch_size)
            _learn_adapter(model, task, seen, args, len(examples) / len(seen))
            found.append((before, answer_scores(model, task, unseen, args.per_device_eval_batch_size)))
            _put(tensors, start)
            tell(f"rehearsed part {part} of {FOLDS}, in {duration(time.perf_counter() - began)}")
    finally:
        _put(tensors, start)
        model.set_stage(task, "expansion")
    without, with_adapter = zip(*found, strict=True)
    return np.concatenate(without), np.concatenate(with_adapter)


def _learn_adapter(
    model: AtlasModel, task: str, examples: Dataset, args: AtlasTrainingArguments, longer: float
) -> None:
    set_seed(args.seed)
    model.set_stage(task, "expansion")
    with quiet(args.for_stage(task, "expansion")) as quiet_args:
        quiet_args.num_train_epochs *= longer
        train_quietly(TaskTrainer(model, quiet_args, task, examples))


def _put(tensors: dict[str, torch.Tensor], values: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for key, value in values.items():
            tensors[key].copy_(value)
