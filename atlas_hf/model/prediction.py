"""How a learned task answers: `AtlasModel.predict`, and what turns its examples into batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn

from atlas_hf.data.collator import AtlasCollator, Encoder, example_rows
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import backbone_of


class PredictionMixin:
    """`predict` of `AtlasModel`, and its collators."""

    @cached_property
    def encoder(self) -> Encoder:
        if self.processor is None:
            raise ValueError("This AtlasModel has no processor; pass processor=AutoProcessor.from_pretrained(...).")
        backbone = self.get_base_model()
        limits = [
            getattr(backbone.config.get_text_config(), "max_position_embeddings", None),
            getattr(self._tokenizer(), "model_max_length", None),
        ]
        limits = [limit for limit in limits if limit is not None and limit < 1_000_000]
        return Encoder(self.processor, min(limits) if limits else None, backbone_of(backbone).fixed_length)

    def _tokenizer(self) -> Any:
        return Encoder(self.processor).tokenizer

    def collator(self, task: str) -> AtlasCollator:
        """What turns rows of a task's data set into batches of this model."""
        self._check_known([task])
        return AtlasCollator(self.specs[task], self.encoder)

    def predict(
        self,
        task: str,
        images: Any = None,
        texts: Any = None,
        choices: Any = None,
        *,
        audio: Any = None,
        top_k: int | None = None,
        batch_size: int = 32,
    ) -> list[Any]:
        """Answers with scores, best first.

        Args:
            task: which task's question is asked.
            images: a PIL image or path, a pair of them for a task about pairs, or a list of such.
            texts: a string, a tuple of strings for a task with several text columns, or a list of such.
            choices: a list of strings, or a list of such lists, for a multiple-choice task.
            audio: a sound, `{"array": (samples,), "sampling_rate": Hz}`, or a list of such.
            top_k: how many answers per example; by default all.
            batch_size: examples per forward pass.

        Returns:
            For each example a list of `{"label": ..., "score": ...}`; for a single example that list alone.
        """
        self._check_known([task])
        spec, collate, scores = self.specs[task], self.collator(task), []
        rows, single = example_rows(spec, images, texts, choices, audio)
        with torch.no_grad(), evaluating(self):
            for start in range(0, len(rows), batch_size):
                inputs = collate.inputs(rows[start : start + batch_size])
                logits = self(task=task, **{name: tensor.to(self.device) for name, tensor in inputs.items()}).logits
                scores.extend(self.base_model.atlas_head[task].scores(logits).tolist())
        answers = [_ranked(spec, row, values, top_k) for row, values in zip(rows, scores, strict=True)]
        return answers[0] if single else answers


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode under a fixed seed: the same input gives the same bits, and nobody's random state moves.

    ViLT orders its patches with torch's global generator even in evaluation mode.
    """
    was_training = model.training
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        if any(module.training for module in model.modules()):  # a change of mode costs the packed weights
            model.eval()
        try:
            yield
        finally:
            if was_training:
                model.train()


def _ranked(spec: TaskSpec, row: Mapping[str, Any], scores: list[float], top_k: int | None) -> list[dict[str, Any]]:
    names = row[spec.choices_column] if spec.choices_column else spec.label_names or ("value",)
    answers = [{"label": name, "score": score} for name, score in zip(names, scores, strict=True)]
    return sorted(answers, key=lambda answer: -answer["score"])[:top_k]
