"""How a model answers: a batch goes through the backbone, with the adapters of its tasks, and on to their heads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ModelOutput

from atlas_hf.data import AtlasCollator, Encoder, example_rows
from atlas_hf.model import logits, prediction
from atlas_hf.model.evaluation import seeded
from atlas_hf.model.logits import AtlasOutput
from atlas_hf.model.task_model import TaskModel
from atlas_hf.tuner import BASE, ROUTE, Mixture, Route, backbone_of, pool, pool_runs, routed


class AnsweringModel(TaskModel):
    """Logits, losses, coefficients and predictions of the tasks. See `AtlasModel`."""

    def forward(
        self,
        task: str | Sequence[str] | None = None,
        labels: Tensor | Sequence[Any] | None = None,
        **inputs: Any,
    ) -> AtlasOutput:
        """Logits of a task, and its loss if labels are given.

        Args:
            task: which one; by default the active task. Other calls are not affected. A list of names, one per
                example, computes examples of different tasks together, each with its own adapters and head.
            labels: (B,) class ids or numbers, (B, C) soft scores for multi-label; for a list of tasks one per example.
            inputs: what the backbone takes, rows_per_example rows for each example (see `AtlasCollator`). The rows of
                an example stand together; examples of different tasks may have different numbers of them.

        Returns:
            For one task, logits (B, C). For a list of tasks, a tuple of logits (C,), one per example, since C differs
            between tasks, and the mean of the examples' losses. `"__base__"`, the bare backbone, has no head: its
            logits are the pooled vectors.

        Raises:
            ValueError: no or unknown tasks, or rows or labels that do not fit them.
        """
        task = self.task if task is None else task
        if task is None:
            raise ValueError(f"No task is active. Call set_task, or pass task=...; there are {self.tasks}.")
        if isinstance(task, str):
            return logits.answer(task, self.heads.get(task), self.pooled(task, **inputs), labels)
        logits.check_labels(task, self.heads, labels)
        mixture = self._mixture(task)
        return logits.answer_mixture(mixture, self.heads, self._pooled_mixture(mixture, inputs), labels)

    def pooled(self, task: str | Sequence[str] | None = None, **inputs: Any) -> Tensor:
        """The backbone's pooled vectors with the adapters of a task, (rows, D); `"__base__"` for the bare backbone.

        A list of tasks names one per example, as in `forward`.
        """
        task = self.active_adapter if task is None else task
        if not isinstance(task, str):
            return self._pooled_mixture(self._mixture(task), inputs)
        logits.check_inputs(inputs)
        self._check_known(*([] if task == BASE else [task]))
        return pool(*self._encoded(inputs, task=task), self._pooling(task))

    def _pooled_mixture(self, mixture: Mixture, inputs: dict[str, Any]) -> Tensor:
        logits.check_inputs(inputs)
        logits.check_rows(mixture, inputs)
        outputs, mask = self._encoded(mixture.ordered(inputs), runs=mixture.runs)
        poolings = {task: self._pooling(task) for task, _ in mixture.runs}
        return mixture.restored(pool_runs(outputs, mask, mixture.runs, poolings))

    def _encoded(self, inputs: dict[str, Any], **route: Any) -> tuple[ModelOutput, Tensor | None]:
        """What the backbone returns, in evaluation the same for the same inputs; and its last sequence's mask."""
        backbone = self.get_base_model()
        draws = backbone_of(backbone).random_patches and not self.training
        with seeded() if draws else nullcontext(), routed(**route), self._enable_peft_forward_hooks(**inputs):
            return backbone(**inputs), (ROUTE.get() or Route()).mask

    def _pooling(self, task: str) -> str | None:
        config = self.task_config if task == BASE else self.peft_config[task]
        return config.pooling or backbone_of(self.get_base_model()).pooling

    def _mixture(self, tasks: Sequence[str]) -> Mixture:
        self._check_known(*(task for task in tasks if task != BASE))
        heads = self.heads
        return Mixture(tasks, {task: heads[task].rows_per_example if task in heads else 1 for task in tasks})

    def coefficients(self, task: str, **inputs: Any) -> dict[str, Tensor]:
        """How much each adapter counts for each example, by site: (B, K), or (B, K, D) for channel weighting.

        Column k belongs to the k-th of `members(task)`.
        """
        self._check_known(task)
        found: dict[nn.Module, Tensor] = {}
        with torch.no_grad(), routed(coefficients=found):
            self.pooled(task, **inputs)
        return {path: found[site] for path, site in self.base_model.sites.items() if site in found}

    @cached_property
    def encoder(self) -> Encoder:
        """What turns texts, images and sounds into the backbone's inputs."""
        return prediction.make_encoder(self.processor, self.get_base_model())

    def collator(self, task: str) -> AtlasCollator:
        """What turns rows of a task's data set into batches of this model."""
        return AtlasCollator(self.spec(task), self.encoder)

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
        collate = self.collator(task)
        rows, single = example_rows(collate.spec, images, texts, choices, audio)
        answers = prediction.predict(self, task, collate, rows, top_k, batch_size)
        return answers[0] if single else answers
