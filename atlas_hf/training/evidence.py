"""Does a stage help? Asked of examples that it has not learned from, and answered by each of them."""

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from atlas_hf.data import batches
from atlas_hf.model import AtlasModel, evaluating

HELD_OUT = 0.2  # of the training examples, where no others are given
MOST_HELD_OUT = 500
FEWEST = 8  # examples that say anything
CLEAR = 1.0  # standard errors of the mean difference that count as one


def hold_out(dataset: Dataset, seed: int) -> tuple[Dataset, Dataset | None]:
    """Training examples to learn from, and a fifth of them (at most 500), drawn by `seed`, to decide by.

    None where the fifth would be fewer than eight, which say nothing: then all are learned from.
    """
    held = min(int(len(dataset) * HELD_OUT), MOST_HELD_OUT)
    if held < FEWEST:
        return dataset, None
    order = np.random.default_rng(seed).permutation(len(dataset))
    return dataset.select(np.sort(order[held:])), dataset.select(np.sort(order[:held]))


def answers(model: AtlasModel, task: str, dataset: Dataset, batch_size: int) -> tuple[NDArray, NDArray]:
    """Logits (n, C) of a task for each example, and the labels, (n,) or (n, C)."""
    logits, labels = [], []
    with torch.no_grad(), evaluating(model) as twin:
        for batch in batches(dataset, model.collator(task), batch_size, model.device):
            labels.append(batch.pop("labels").cpu())
            logits.append(twin(task=task, **batch).logits.float().cpu())
    return torch.cat(logits).numpy(), torch.cat(labels).numpy()


def clearly_better(scores: NDArray, before: NDArray) -> bool:
    """Scores of the same examples (n,): is the mean higher by more than one standard error of the difference?

    One example says nothing.
    """
    gain = scores - before
    return len(gain) > 1 and bool(gain.mean() > CLEAR * gain.std(ddof=1) / len(gain) ** 0.5)
