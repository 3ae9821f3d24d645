"""Does a stage help? Asked of examples that it has not learned from, and answered by each of them."""

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from atlas_hf.data import batches, by_length
from atlas_hf.metrics.single import SCORES
from atlas_hf.model import AtlasModel, evaluating
from atlas_hf.training.arguments import AtlasTrainingArguments

LEAST = 48  # examples; fewer cannot tell whether an adapter helps, and a head learns more from them
# From fewer it depends on the data what an adapter adds to a head: from 256 examples 32 points on digits' vqa, -9 on
# text-choice, and 2 to -5 on eight tasks of real texts. From 1,500 it is worth having.
MANY = 1000
HELD_OUT, MOST_HELD_OUT = 0.1, 250  # of many training examples, where no others are given
CLEAR = 1.0  # standard errors of the mean difference that count as one


def hold_out(dataset: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Training examples to learn from, and a tenth of them (at most 250), drawn by `seed`, to decide by."""
    held = min(int(len(dataset) * HELD_OUT), MOST_HELD_OUT)
    order = np.random.default_rng(seed).permutation(len(dataset))
    return dataset.select(np.sort(order[held:])), dataset.select(np.sort(order[:held]))


def answers(model: AtlasModel, task: str, dataset: Dataset, batch_size: int) -> tuple[NDArray, NDArray]:
    """Logits (n, C) of a task for each example, and the labels, (n,) or (n, C), the shortest texts first."""
    logits, labels = [], []
    dataset = dataset.select(by_length(dataset, model.specs[task]))
    with torch.no_grad(), evaluating(model) as twin:
        for batch in batches(dataset, model.collator(task), batch_size, model.device):
            labels.append(batch.pop("labels").cpu())
            logits.append(twin(task=task, **batch).logits.float().cpu())
    return torch.cat(logits).numpy(), torch.cat(labels).numpy()


def answer_scores(model: AtlasModel, task: str, dataset: Dataset, batch_size: int) -> NDArray:
    """How well a task answers each example, (n,), as its metric counts it, the shortest texts first."""
    return SCORES[model.specs[task].metric](*answers(model, task, dataset, batch_size))


def is_head_alone(examples: int, validation: Dataset | None, args: AtlasTrainingArguments) -> bool:
    """Does a task of so many training examples learn a head and nothing else, because nothing can be decided by?"""
    return args.recipe == "evidence" and args.expand == "auto" and validation is None and examples < LEAST


def clearly_better(scores: NDArray, before: NDArray) -> bool:
    """Scores of the same examples (n,): is the mean higher by more than one standard error of the difference?

    One example says nothing.
    """
    gain = scores - before
    return len(gain) > 1 and bool(gain.mean() > CLEAR * gain.std(ddof=1) / len(gain) ** 0.5)
