"""`AtlasModel`: one frozen backbone and the tasks it has learned."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftModel
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from atlas_hf.model.persistence import SaveLoadMixin
from atlas_hf.model.prediction import PredictionMixin
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import (
    PARTS,
    ROUTE,
    STAGES,
    AtlasConfig,
    Mixture,
    backbone_of,
    count_by_part,
    head_arguments,
    pool,
    pool_runs,
    pooled_size,
    routed,
)

BASE = "__base__"


@dataclass
class AtlasOutput(ModelOutput):
    """`loss`: a scalar, if labels were given. `logits`: (B, C), or (B, choices); for a batch of several tasks a tuple
    of (C,) or (choices,), one per example."""

    loss: Tensor | None = None
    logits: Tensor | tuple[Tensor, ...] | None = None


class AtlasModel(SaveLoadMixin, PredictionMixin, PeftModel):
    """A frozen backbone with one adapter, set of queries and head per task.

    Made by `AtlasModel.from_pretrained`, from a backbone or from a folder or repository of learned tasks.

    Args:
        backbone: any transformers encoder; it is frozen, and its linear modules are wrapped in place.
        processor: its processor, tokenizer or image processor; None if `predict` and the Trainer are not used.
        config: the defaults of every task (`AtlasConfig`: variant, width, sites ...).
        base_id, base_revision: where the backbone can be loaded from; by default its own `name_or_path`.

    Attributes:
        specs: the tasks in the order of learning, by name.
        metrics: what was measured of each task, by name.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        processor: Any = None,
        config: AtlasConfig | None = None,
        base_id: str | None = None,
        base_revision: str | None = None,
    ) -> None:
        base_id = base_id or getattr(backbone, "name_or_path", None) or None
        nothing = AtlasConfig(target_modules=DUMMY_TARGET_MODULES, inference_mode=True)
        with warnings.catch_warnings():
            # PEFT reads a property that transformers 5 has renamed.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            super().__init__(backbone, nothing, adapter_name=BASE)
        self.task_config = config or AtlasConfig()
        self.task_config.base_model_name_or_path = base_id
        self.task_config.revision = base_revision
        self.base_dtype = str(backbone.dtype).removeprefix("torch.")
        self.processor = processor
        self.specs: dict[str, TaskSpec] = {}
        self.metrics: dict[str, dict[str, float]] = {}

    # Tasks ---------------------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks, in the order of learning."""
        return list(self.specs)

    @property
    def task(self) -> str | None:
        """The active task; None while the backbone is bare."""
        return None if self.active_adapter == BASE else self.active_adapter

    def add_task(self, spec: TaskSpec, experience: Sequence[str] | None = None, **overrides: Any) -> None:
        """Add a task: its adapter, key, queries and head, ready for its first stage, and make it the active one.

        Args:
            spec: what the task is.
            experience: the earlier tasks to reuse; by default every one of them, `()` for none.
            overrides: fields of `AtlasConfig` that differ for this task.

        Raises:
            ValueError: the name is taken or not allowed, an experienced task is unknown, a site does not fit. The
                model is then as it was before.
        """
        if spec.name in self.specs:
            raise ValueError(f"There is a task {spec.name!r} already; there are {self.tasks}. Choose another name.")
        reused = self.tasks if experience is None else list(experience)
        self._check_known(reused)
        config = replace(
            deepcopy(self.task_config),
            **overrides,
            experience=reused,
            stage="experience" if reused else "expansion",
            head=head_arguments(spec, self.pooled_size),
        )
        self.add_adapter(spec.name, config)
        self.specs[spec.name] = spec
        self.set_stage(spec.name, config.stage)

    def _check_known(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in self.specs]
        if unknown:
            raise ValueError(f"There is no task {', '.join(map(repr, unknown))}; there are {self.tasks}.")

    def set_task(self, task: str | None) -> None:
        """Make a task the active one, for inference; None for the bare backbone."""
        self._check_known([] if task is None else [task])
        self.set_adapter(task or BASE, inference_mode=True)

    def set_stage(self, task: str, stage: str) -> None:
        """Put a task into a stage: what the stage trains becomes trainable, everything else is frozen.

        `"experience"`: the queries over the experience, and the head. `"expansion"`: the task's own adapter, key and
        query, and the head. `"complete"`: nothing.
        """
        self._check_known([task])
        if stage not in STAGES:
            raise ValueError(f"stage is {stage!r}; possible are {', '.join(STAGES)}.")
        if stage == "experience" and not self.peft_config[task].experience:
            possible = ", ".join(name for name in STAGES if name != stage)
            raise ValueError(f"Task '{task}' reuses nothing, so it has no stage {stage!r}; possible are {possible}.")
        users = [name for name in self.tasks if task in self.peft_config[name].experience]
        if stage == "expansion" and users:
            raise ValueError(
                f"Task '{task}' cannot learn on: {users} reuse its adapter, and would change with it. Add a new task "
                "that reuses it instead."
            )
        self.peft_config[task].stage = stage
        self.set_adapter(task, inference_mode=stage == "complete")

    def delete_task(self, task: str) -> None:
        """Forget a task that no other reuses."""
        self._check_known([task])
        self.base_model.delete_adapter(task)
        self.metrics.pop(task, None)
        del self.specs[task]
        if self.active_adapter == task or self.active_adapter not in self.peft_config:
            self.set_task(None)

    def drop_experience(self, task: str, names: Sequence[str]) -> None:
        """Let a learned task no longer reuse these earlier ones. Its answers change (see `prune_experience`).

        The tasks that reuse it do not change: they use its adapter, not what it reuses.

        Raises:
            ValueError: the task does not reuse them, or is still being learned.
        """
        self._check_known([task])
        config = self.peft_config[task]
        unknown = [name for name in names if name not in config.experience]
        if unknown or config.stage != "complete":
            raise ValueError(
                f"Task '{task}' (stage '{config.stage}') reuses {config.experience}; {list(names)} cannot be dropped. "
                "Name tasks that a learned task reuses."
            )
        if names:
            self.base_model.drop_experience(task, names)

    def get_base_model(self) -> nn.Module:
        return self.base_model.model

    # Computation ---------------------------------------------------------------------------------------------------

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
        if not isinstance(task, str):
            return self._forward_mixed(list(task), labels, inputs)
        pooled = self.pooled(task, **inputs)
        if task == BASE:
            return AtlasOutput(logits=pooled)
        head = self.base_model.atlas_head[task]
        _check_examples(self.specs[task], len(pooled), labels)
        logits = head(pooled)
        return AtlasOutput(loss=None if labels is None else head.loss(logits, labels), logits=logits)

    def _forward_mixed(
        self, tasks: list[str], labels: Tensor | Sequence[Any] | None, inputs: dict[str, Any]
    ) -> AtlasOutput:
        if labels is not None and (len(labels) != len(tasks) or BASE in tasks):
            raise ValueError(f"There are {len(labels)} labels for the tasks {tasks}. Give each one; {BASE} has none.")
        pooled, mixture = self.pooled(tasks, **inputs), self._mixture(tasks)
        logits: list[Tensor | None] = [None] * len(tasks)
        loss = None if labels is None else pooled.new_zeros((), dtype=torch.float32)
        for task, examples in mixture.examples.items():
            own = pooled[mixture.rows[task]]
            values = own if task == BASE else self.base_model.atlas_head[task](own)
            for position, value in zip(examples, values, strict=True):
                logits[position] = value
            if labels is not None:
                wanted = torch.stack([torch.as_tensor(labels[i], device=values.device) for i in examples])
                loss = loss + self.base_model.atlas_head[task].loss(values, wanted) * len(examples) / len(tasks)
        return AtlasOutput(loss=loss, logits=tuple(logits))

    def pooled(self, task: str | Sequence[str] | None = None, **inputs: Any) -> Tensor:
        """The backbone's pooled vectors with the adapters of a task, (rows, D); `"__base__"` for the bare backbone.

        A list of tasks names one per example, as in `forward`.
        """
        if "adapter_names" in inputs:
            raise ValueError("adapter_names belongs to PEFT's own models; here, give task=[...], one per example.")
        _check_same_rows(inputs)
        if task is None or isinstance(task, str):
            self._check_known([] if task in (None, BASE) else [task])
            return pool(*self._encoded(inputs, task=task), self._pooling(task or self.active_adapter))
        mixture = self._mixture(task)
        rows = max((len(value) for value in inputs.values() if isinstance(value, Tensor) and value.dim()), default=0)
        if rows != mixture.size:
            raise ValueError(
                f"The {len(task)} examples have {mixture.size} rows {dict(mixture.runs)}; {rows} rows were given. "
                "Name one task per example, and give all choices or images of each, one after another."
            )
        outputs, mask = self._encoded(mixture.ordered(inputs), runs=mixture.runs)
        poolings = {task: self._pooling(task) for task, _ in mixture.runs}
        return mixture.restored(pool_runs(outputs, mask, mixture.runs, poolings))

    def _encoded(self, inputs: dict[str, Any], **route: Any) -> tuple[ModelOutput, Tensor | None]:
        """What the backbone returns, and the mask of its last sequence."""
        with routed(**route), self._enable_peft_forward_hooks(**inputs):
            return self.get_base_model()(**inputs), ROUTE.get().mask

    def _pooling(self, task: str) -> str | None:
        config = self.task_config if task == BASE else self.peft_config[task]
        return config.pooling or backbone_of(self.get_base_model()).pooling

    def _mixture(self, tasks: Sequence[str]) -> Mixture:
        self._check_known([task for task in tasks if task != BASE])
        rows = {task: 1 if task == BASE else self.specs[task].rows_per_example for task in tasks}
        return Mixture.of(tasks, rows)

    @property
    def pooled_size(self) -> int:
        """D of the pooled vectors."""
        return pooled_size(self.get_base_model().config)

    def coefficients(self, task: str, **inputs: Any) -> dict[str, Tensor]:
        """How much each adapter counts for each example, by site: (B, K), or (B, K, D) for channel weighting.

        Column k belongs to the k-th of `members(task)`.
        """
        self._check_known([task])
        with torch.no_grad(), routed(coefficients={}) as route:
            self.pooled(task, **inputs)
        passed = self.base_model.sites.items()
        return {path: route.coefficients[site] for path, site in passed if site in route.coefficients}

    def members(self, task: str) -> list[str]:
        """The tasks whose adapters a task adds up: its experience, then itself (once it is past the first stage)."""
        self._check_known([task])
        return next(iter(self.base_model.sites_of(task).values())).members(task)

    def count_parameters(self, task: str) -> dict[str, int]:
        """Parameters that a task owns, by part: adapter, key, queries, head."""
        self._check_known([task])
        counts = dict.fromkeys(("adapter", "key", "queries", "head"), 0)
        for part, count in count_by_part(self, task).items():
            counts[PARTS[part].group] += count
        return counts

    @property
    def device(self) -> torch.device:
        return next(self.get_base_model().parameters()).device


def _check_same_rows(inputs: Mapping[str, Any]) -> None:
    rows = {name: len(value) for name, value in inputs.items() if isinstance(value, Tensor) and value.dim()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"The inputs have different numbers of rows: {rows}. Give as many of each; a collator does.")


def _check_examples(spec: TaskSpec, rows: int, labels: Tensor | None) -> None:
    examples, rest = divmod(rows, spec.rows_per_example)
    if rest:
        raise ValueError(
            f"Task '{spec.name}' has {spec.rows_per_example} rows per example; {rows} rows were given. Give all the "
            "choices or images of each example, one after another, as the task's collator does."
        )
    if labels is not None and len(labels) != examples:
        raise ValueError(f"Task '{spec.name}': there are {len(labels)} labels for {examples} examples. Give one each.")
