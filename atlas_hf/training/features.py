"""What the heads see of many examples: pooled vectors, of one pass over a data set."""

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from tqdm.auto import tqdm

from atlas_hf.data import batches, by_length
from atlas_hf.model import evaluating


def pooled_features(
    model: Any, task: str, dataset: Dataset, batch_size: int, title: str | None = None
) -> tuple[Tensor, Tensor]:
    """What a task's head sees of a data set, and the labels, in the order of the data.

    Texts of about the same length go through the backbone together, as padding would take half of the time.

    Args:
        model: an `AtlasModel`, or one with `collator`, `pooled` and `specs` as it has them.
        title: of a progress bar; without one there is none.

    Returns:
        Features (n, R, D), for R rows of the backbone per example, and labels (n,), or (n, C) for several answers.
    """
    order = by_length(dataset, model.specs[task])
    steps = batches(dataset.select(order), model.collator(task), batch_size, model.device)
    bar = tqdm(steps, title, -(-len(order) // batch_size), delay=2, disable=title is None)
    features, labels = [], []
    with torch.no_grad(), evaluating(model) as twin:
        for batch in bar:
            labels.append(batch.pop("labels"))
            features.append(twin.pooled(task, **batch).float())
    back = torch.tensor(order).argsort()
    found, answers = torch.cat(features), torch.cat(labels)
    back = back.to(found.device)
    return found.unflatten(0, (len(order), -1))[back], answers[back]
