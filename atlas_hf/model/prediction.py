"""How a learned task answers a person: rows in, names with scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from atlas_hf.data import AtlasCollator, Encoder, batches
from atlas_hf.model.evaluation import evaluating
from atlas_hf.model.task_model import TaskModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import backbone_of


def make_encoder(processor: Any, backbone: PreTrainedModel) -> Encoder:
    """What turns texts, images and sounds into the inputs of a backbone."""
    if processor is None:
        raise ValueError("This AtlasModel has no processor; pass processor=AutoProcessor.from_pretrained(...).")
    limits = [
        getattr(backbone.config.get_text_config(), "max_position_embeddings", None),
        getattr(Encoder(processor).tokenizer, "model_max_length", None),
    ]
    known = [limit for limit in limits if limit is not None and limit < 1_000_000]
    return Encoder(processor, min(known, default=None), backbone_of(backbone).fixed_length)


def predict(
    model: TaskModel,
    task: str,
    collate: AtlasCollator,
    rows: Sequence[Mapping[str, Any]],
    top_k: int | None,
    batch_size: int,
) -> list[list[dict[str, Any]]]:
    """For each row its answers with scores, `{"label": ..., "score": ...}`, best first; None for all of them."""
    scores: list[list[float]] = []
    with torch.no_grad(), evaluating(model):
        for inputs in batches(rows, collate.inputs, batch_size, model.device):
            scores.extend(model.heads[task].scores(model(task=task, **inputs).logits).tolist())
    return [_ranked(collate.spec, row, values, top_k) for row, values in zip(rows, scores, strict=True)]


def _ranked(spec: TaskSpec, row: Mapping[str, Any], scores: list[float], top_k: int | None) -> list[dict[str, Any]]:
    names = row[spec.choices_column] if spec.choices_column else spec.label_names or ("value",)
    answers = [{"label": name, "score": score} for name, score in zip(names, scores, strict=True)]
    return sorted(answers, key=lambda answer: -answer["score"])[:top_k]
