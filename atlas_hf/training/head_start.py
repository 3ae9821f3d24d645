"""The head, learned to its end before anything else, on features that do not change meanwhile: within seconds."""

from collections.abc import Sequence
from copy import deepcopy
from math import ceil
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.features import pooled_features
from atlas_hf.tuner import Head

MOST = 8192  # examples; more say nothing new to a head
BATCH_SIZE, STEPS, EPOCHS = 256, 100, 5  # at least so many steps and passes over the examples
# From 16 to 256 examples any rate from 5e-4 to 5e-3 and any length from 50 to 200 steps came to the same within a
# point; from another head a lower rate is better, at which few examples do not unlearn it.
LEARNING_RATE = 1e-3
COMPARED, FOLDS = 256, 4  # examples, at most, that heads are compared by


def learn_head(
    model: Any, task: str, dataset: Dataset, args: AtlasTrainingArguments, sources: Sequence[str] = ()
) -> None:
    """Learn a task's head on the features that the adapters which take part in the task give now.

    It begins as it is, or at the head of an earlier task, whichever predicts examples left out better.

    Args:
        model: an `AtlasModel`, or one with `heads`, `collator` and `pooled` as it has them.
        dataset: the examples to learn from; at most 8,192, drawn by `args.seed`, are used.
        sources: earlier tasks, whose heads may be begun with if they know the same labels.
    """
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(args.seed))[:MOST].tolist()
    title = None if args.disable_tqdm else f"{task}, head"
    features, labels = pooled_features(model, task, dataset.select(order), args.per_device_eval_batch_size, title)
    model.heads[task].scale_to(labels)
    heads = [model.heads[task], *(model.heads[name] for name in sources if _same_labels(model, task, name))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(args.seed)
        if len(heads) > 1:
            few = features[:COMPARED], labels[:COMPARED]
            heads.sort(key=lambda head: left_out_loss(head, *few))
        learned = fitted(heads[0], features, labels)
    model.heads[task].load_state_dict(learned.state_dict())


def _same_labels(model: Any, task: str, other: str) -> bool:
    same = model.specs[task].same_classes(model.specs[other])
    return same and model.peft_config[task].head == model.peft_config[other].head


def fitted(head: Head, features: Tensor, labels: Tensor) -> Head:
    """A copy of a head that has learned: AdamW, its rate falling to zero, in small steps.

    Args:
        features: (n, R, D), R rows per example.
        labels: (n,), or (n, C) for several answers.

    Raises a `FloatingPointError` if it ends with a loss that is NaN or infinite.
    """
    head = deepcopy(head).requires_grad_(True)
    steps = max(STEPS, ceil(EPOCHS * len(labels) / BATCH_SIZE))
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        rows = torch.randperm(len(labels))[:BATCH_SIZE].to(features.device)
        optimizer.zero_grad()
        loss = head.loss(head(features[rows].flatten(0, 1)), labels[rows])
        loss.backward()
        optimizer.step()
        schedule.step()
    if not loss.isfinite():
        raise FloatingPointError(
            f"The loss of the head is {loss.item()}, so nothing can be learned. Look for values that are NaN, "
            "infinite or huge in the data and in what the backbone makes of them."
        )
    return head.requires_grad_(False)


def left_out_loss(head: Head, features: Tensor, labels: Tensor) -> float:
    """The mean loss at examples left out, of heads that begin so and learn from the others; 0 of too few."""
    fold = torch.arange(len(labels)) % FOLDS
    total = 0.0
    for left_out in (fold == i for i in fold.unique() if len(labels) >= FOLDS):
        learned = fitted(head, features[~left_out], labels[~left_out])
        with torch.no_grad():
            loss = learned.loss(learned(features[left_out].flatten(0, 1)), labels[left_out])
        total += loss.item() * int(left_out.sum()) / len(labels)
    return total
