"""From pooled vectors to logits and a loss: one task's batch, or a batch of several tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import ModelOutput

from atlas_hf.tuner import BASE, Head, Mixture


@dataclass
class AtlasOutput(ModelOutput):
    """What `AtlasModel.forward` returns.

    `loss`: a scalar, if labels were given. `logits`: (B, C), or (B, choices); for a batch of several tasks a tuple
    of (C,) or (choices,), one per example.
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
    return AtlasOutput(
        loss=None if labels is None else head.loss(logits, torch.as_tensor(labels, device=logits.device)),
        logits=logits,
    )


def answer_mixture(
    mixture: Mixture, heads: Mapping[str, Head], pooled: Tensor, labels: Sequence[Any] | Tensor | None
) -> AtlasOutput:
    """Of several tasks: pooled vectors (rows, D) in the order of the examples, one label for each."""
    count = sum(map(len, mixture.examples.values()))
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
    return AtlasOutput(loss=None if labels is None else loss, logits=tuple(logits))


def check_labels(tasks: Sequence[str], heads: Mapping[str, Head], labels: Sequence[Any] | Tensor | None) -> None:
    """Raise a `ValueError` unless each example of a mixed batch has a label and a head for it, or none is given."""
    if labels is not None and (len(labels) != len(tasks) or any(task not in heads for task in tasks)):
        raise ValueError(
            f"There are {len(labels)} labels for the tasks {list(tasks)}. Give each one; {BASE} has none."
        )


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """Raise a `ValueError` if the inputs have different numbers of rows, or name adapters in PEFT's way."""
    if "adapter_names" in inputs:
        raise ValueError("adapter_names belongs to PEFT's own models; here, give task=[...], one per example.")
    rows = {name: len(value) for name, value in inputs.items() if isinstance(value, Tensor) and value.dim()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"The inputs have different numbers of rows: {rows}. Give as many of each; a collator does.")


def check_rows(mixture: Mixture, inputs: Mapping[str, Any]) -> None:
    """Raise a `ValueError` if there are not as many rows as the tasks of a mixed batch ask for."""
    rows = max((len(value) for value in inputs.values() if isinstance(value, Tensor) and value.dim()), default=0)
    if rows != mixture.size:
        count = sum(map(len, mixture.examples.values()))
        raise ValueError(
            f"The {count} examples have {mixture.size} rows {dict(mixture.runs)}; {rows} rows were given. "
            "Name one task per example, and give all choices or images of each, one after another."
        )
