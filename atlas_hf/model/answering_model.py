"""How a model answers: a batch goes through the backbone, with the adapters of its tasks, and on to their heads."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ModelOutput

from atlas_hf.data import AtlasCollator, Encoder, example_rows
from atlas_hf.model.coefficients import Coefficients
from atlas_hf.model.evaluation import evaluating
from atlas_hf.model.examples import encoded, one_or_many
from atlas_hf.model.output import AtlasOutput, answer, answer_mixture
from atlas_hf.model.task_model import TaskModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import (
    BASE,
    ROUTE,
    Mixture,
    Route,
    backbone_of,
    own_draws,
    pool,
    pool_runs,
    position_limit,
    routed,
)

BATCH_SIZE = 32  # examples per forward pass


class AnsweringModel(TaskModel):
    """Logits, losses, coefficients and predictions of the tasks. See `AtlasModel`."""

    def forward(
        self,
        *args: Any,
        task: str | Sequence[str] | None = None,
        labels: Tensor | Sequence[Any] | None = None,
        **inputs: Any,
    ) -> AtlasOutput:
        """Logits of a task, and its loss if labels are given.

        Args:
            args: the first of `inputs`, in the backbone's order.
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
        heads = self.heads
        if args:
            inputs = self._named(args, inputs)
        if isinstance(task, str):
            return answer(task, heads.get(task), self.pooled(task, **inputs), labels)
        if labels is not None and (len(labels) != len(task) or any(name not in heads for name in task)):
            raise ValueError(
                f"There are {len(labels)} labels for the tasks {list(task)}. Give each one; {BASE} has none."
            )
        mixture = self._mixture(task)
        return answer_mixture(mixture, heads, self._pooled_mixture(mixture, inputs), labels)

    def _named(self, args: tuple[Any, ...], inputs: dict[str, Any]) -> dict[str, Any]:
        """All inputs by the names that the backbone gives them."""
        if not all(value is None or isinstance(value, Tensor) for value in args):
            raise TypeError(
                f"The inputs are {[type(value).__name__ for value in args]}; give tensors, and the task by its "
                "keyword: model(input_ids, attention_mask, task='...')."
            )
        named = inspect.signature(self.get_base_model().forward).bind_partial(*args).arguments
        if twice := named.keys() & inputs.keys():
            raise TypeError(f"{sorted(twice)} came twice: by position and by name. Give each input once.")
        return {**named, **inputs}

    def pooled(self, task: str | Sequence[str] | None = None, **inputs: Any) -> Tensor:
        """The backbone's pooled vectors with the adapters of a task, (rows, D); `"__base__"` for the bare backbone.

        A list of tasks names one per example, as in `forward`.
        """
        task = self.active_adapter if task is None else task
        if not isinstance(task, str):
            return self._pooled_mixture(self._mixture(task), inputs)
        _check_inputs(inputs)
        if task != BASE:
            self._check_known(task)
        return pool(*self._encoded(inputs, task=task), self._pooling(task))

    def _mixture(self, tasks: Sequence[str]) -> Mixture:
        self._check_known(*(task for task in tasks if task != BASE))
        heads = self.heads
        return Mixture(tasks, {task: heads[task].rows_per_example if task in heads else 1 for task in tasks})

    def _pooled_mixture(self, mixture: Mixture, inputs: dict[str, Any]) -> Tensor:
        if (rows := _check_inputs(inputs)) != mixture.size:
            raise ValueError(
                f"The {mixture.count} examples have {mixture.size} rows {dict(mixture.runs)}; {rows} rows were "
                "given. Name one task per example, and give all choices or images of each, one after another."
            )
        outputs, mask = self._encoded(mixture.ordered(inputs), runs=mixture.runs)
        poolings = {task: self._pooling(task) for task, _ in mixture.runs}
        return mixture.restored(pool_runs(outputs, mask, mixture.runs, poolings))

    def _encoded(self, inputs: dict[str, Any], **route: Any) -> tuple[ModelOutput, Tensor | None]:
        """What the backbone returns, in evaluation the same for the same inputs; and its last sequence's mask."""
        backbone = self.get_base_model()
        draws = None if self.training else backbone_of(backbone).draws
        own = own_draws(draws == "anything") if draws else nullcontext()
        # PEFT's own would look up the active adapter, which another thread may just have deleted.
        hooks = self.base_model._enable_peft_forward_hooks(**inputs)  # noqa: SLF001
        with own, routed(**route), hooks:
            return backbone(**inputs), (ROUTE.get() or Route()).mask

    def _pooling(self, task: str) -> str | None:
        config = self.task_config if task == BASE else self.peft_config[task]
        return config.pooling or backbone_of(self.get_base_model()).pooling

    def coefficients(
        self,
        task: str,
        *,
        images: Any = None,
        texts: Any = None,
        choices: Any = None,
        audio: Any = None,
        image: Any = None,
        text: Any = None,
        **inputs: Any,
    ) -> Coefficients:
        """How much each adapter counts for each row, by site: (B, K), or (B, K, D) for channel weighting.

        A dict that shows mean and spread when printed; `by_site()` and `by_member()` return them. The spread is small:
        a coefficient hardly depends on the example. In evaluation, whatever mode the model is in; it does not change.
        Column k is the k-th of `members(task)`.

        Args:
            images, texts, choices, audio, image, text: examples, as `predict` takes them; one with several
                choices or images has as many rows.
            inputs: or the tensors that the backbone takes, in one pass.

        Raises a `ValueError` for an unknown task, for both or none, and for examples that do not fit the task.
        """
        self._check_known(task)
        texts, images = one_or_many("texts", texts, text), one_or_many("images", images, image)
        asked = [one for one in (images, texts, choices, audio) if one is not None]
        if bool(asked) == bool(inputs):
            raise ValueError(
                f"{'Both examples' if asked else 'Neither examples'} {'and' if asked else 'nor'} tensors were given. "
                "Give examples as predict takes them, for example texts=[...], or the backbone's tensors."
            )
        steps: Iterable[Mapping[str, Any]] = [inputs]
        if asked:
            collate = self.collator(task)
            rows, _ = example_rows(collate.spec, images, texts, choices, audio)
            steps = encoded(collate, rows, BATCH_SIZE, self.device)
        found: dict[str, list[Tensor]] = {}
        with torch.no_grad(), evaluating(self) as twin:
            for step in steps:
                values: dict[nn.Module, Tensor] = {}
                with routed(coefficients=values):
                    twin.pooled(task, **step)
                for path, site in twin.base_model.sites.items():
                    if site in values:
                        found.setdefault(path, []).append(values[site])
            return Coefficients({path: torch.cat(parts) for path, parts in found.items()}, twin.members(task))

    @cached_property
    def preprocessor(self) -> Encoder:
        """What turns texts, images and sounds into the backbone's inputs."""
        if self.processor is None:
            raise ValueError("This AtlasModel has no processor; pass processor=AutoProcessor.from_pretrained(...).")
        backbone = self.get_base_model()
        limits = position_limit(backbone), getattr(Encoder(self.processor).tokenizer, "model_max_length", None)
        known = [limit for limit in limits if limit is not None and limit < 1_000_000]
        return Encoder(self.processor, min(known, default=None), backbone_of(backbone).fixed_length)

    def collator(self, task: str) -> AtlasCollator:
        """What turns rows of a task's data set into batches of this model."""
        return AtlasCollator(self.spec(task), self.preprocessor)

    def predict(
        self,
        task: str,
        images: Any = None,
        texts: Any = None,
        choices: Any = None,
        *,
        audio: Any = None,
        image: Any = None,
        text: Any = None,
        top_k: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> list[Any]:
        """Answers with scores, best first: in evaluation, whatever mode the model is in, which does not change.

        Any number of threads may ask, also while the model trains.

        Args:
            images: a PIL image, path, a file's bytes, array or tensor (`atlas_hf.data.pixels.pixels`), a pair of them
                for a task about pairs, or a list of such.
            texts: a string, a tuple of strings for a task with several text columns, or a list of such.
            choices: a list of strings, or a list of such lists, for a multiple-choice task.
            audio: a sound, `{"array": (samples,), "sampling_rate": Hz}`, or a list of such.
            image, text: the same as `images` and `texts`.
            top_k: how many answers per example; by default all.
            batch_size: examples per forward pass.

        Returns:
            For each example a list of `{"label": ..., "score": ...}`; for a single example that list alone.
        """
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}; give how many answers, 1 or more, or leave it out for all.")
        texts, images = one_or_many("texts", texts, text), one_or_many("images", images, image)
        collate = self.collator(task)
        spec = collate.spec
        rows, single = example_rows(spec, images, texts, choices, audio)
        scores: list[list[float]] = []
        with torch.no_grad(), evaluating(self) as twin:
            for inputs in encoded(collate, rows, batch_size, self.device):
                scores.extend(twin.heads[task].scores(twin(task=task, **inputs).logits).tolist())
        answers = [_ranked(spec, row, values)[:top_k] for row, values in zip(rows, scores, strict=True)]
        return answers[0] if single else answers


def _check_inputs(inputs: Mapping[str, Any]) -> int:
    """The number of rows, the same in every input; adapters are not named in PEFT's way."""
    if "adapter_names" in inputs:
        raise ValueError("adapter_names belongs to PEFT's own models; here, give task=[...], one per example.")
    rows = {name: len(value) for name, value in inputs.items() if isinstance(value, Tensor) and value.dim()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"The inputs have different numbers of rows: {rows}. Give as many of each; a collator does.")
    return max(rows.values(), default=0)


def _ranked(spec: TaskSpec, row: Mapping[str, Any], scores: list[float]) -> list[dict[str, Any]]:
    """An example's answers, best first."""
    names = row[spec.choices_column] if spec.choices_column else spec.label_names or ("value",)
    answers = [{"label": name, "score": score} for name, score in zip(names, scores, strict=True)]
    return sorted(answers, key=lambda answer: -answer["score"])
