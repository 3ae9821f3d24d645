"""From pooled vectors, through the tasks' heads, to what `AtlasModel.forward` returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import ModelOutput

from atlas_hf.tuner import Head, Mixture


@dataclass
class AtlasOutput(ModelOutput):
    """What `AtlasModel.forward` returns: `loss`, a scalar if labels were given, and `logits`, (B, C) or (B, choices).

    For a batch of several tasks the logits are a tuple of (C,) or (choices,), one per example.
    """

    loss: Tensor | None = None
    logits: Tensor | tuple[Tensor, ...] | None = None


def answer(task: str, head: Head | None, pooled: Tensor, labels: Tensor | Sequence[Any] | None) -> AtlasOutput:
    """Of one task: pooled vectors (rows, D), labels (B,) or (B, C). Without a head the logits are the vectors."""
    if head is None:
        return AtlasOutput(logits=pooled)
    examples, rest = divmod(len(pooled), head.rows_per_example)
    if rest:
        raise ValueError(
            f"Task '{task}' has {head.rows_per_example} rows per example; {len(pooled)} rows were given. Give all the "
            "choices or images of each example, one after another, as the task's collator does."
        )
    if labels is not None and len(labels) != examples:
        raise ValueError(f"Task '{task}': there are {len(labels)} labels for {examples} examples. Give one each.")
    logits = head(pooled)
    loss = None if labels is None else head.loss(logits, torch.as_tensor(labels, device=logits.device))
    return AtlasOutput(loss, logits)


def answer_mixture(
    mixture: Mixture, heads: Mapping[str, Head], pooled: Tensor, labels: Sequence[Any] | Tensor | None
) -> AtlasOutput:
    """Of several tasks: pooled vectors (rows, D) in the order of the examples, one label for each."""
    count = mixture.count
    logits: list[Tensor] = [pooled] * count  # each is replaced below
    loss = pooled.new_zeros((), dtype=torch.float32)
    for task, examples in mixture.examples.items():
        own = pooled[mixture.rows[task]]
        values = heads[task](own) if task in heads else own
        for position, value in zip(examples, values, strict=True):
            logits[position] = value
        if labels is not None:
            wanted = torch.stack([torch.as_tensor(labels[i], device=values.device) for i in examples])
            loss = loss + heads[task].loss(values, wanted) * len(examples) / count
    return AtlasOutput(None if labels is None else loss, tuple(logits))
