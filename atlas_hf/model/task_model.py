"""Which tasks a model holds, in which stage each is, and what each owns."""

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from peft import PeftModel
from peft.utils.constants import DUMMY_TARGET_MODULES
from transformers import PreTrainedModel

from atlas_hf.hub import local_or_id
from atlas_hf.model import overview
from atlas_hf.model.backbone import check_plain
from atlas_hf.model.beginning import Beginning
from atlas_hf.model.finished import check_finished, check_may_be_loaded_over, check_may_learn, taken
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import (
    BASE,
    PARTS,
    STAGES,
    AtlasConfig,
    AtlasTuner,
    Head,
    count_by_part,
    head_arguments,
    pooled_size,
)


class TaskModel(PeftModel):
    """A frozen backbone and its tasks. A task is an adapter of PEFT, and PEFT's methods for adapters work on it.

    `peft_config` is the one list of them; a task's config holds what the task is, reuses and trains. See `AtlasModel`.
    """

    base_model: AtlasTuner
    peft_config: dict[str, AtlasConfig]  # type: ignore[assignment]  # PEFT takes adapters of one method only

    def __init__(
        self,
        backbone: PreTrainedModel,
        processor: Any = None,
        config: AtlasConfig | None = None,
        base_id: str | None = None,
        base_revision: str | None = None,
    ) -> None:
        check_plain(backbone)
        base_id = (getattr(backbone, "name_or_path", None) if base_id is None else base_id) or None
        base_id = base_id and local_or_id(base_id)
        nothing = AtlasConfig(target_modules=DUMMY_TARGET_MODULES, inference_mode=True)
        with warnings.catch_warnings():
            # PEFT reads a property that transformers 5 has renamed.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            super().__init__(backbone, nothing, adapter_name=BASE)
        self.task_config = config or AtlasConfig()
        self.task_config.base_model_name_or_path = base_id
        self.task_config.revision = base_revision
        self.processor = processor
        self.metrics: dict[str, dict[str, float]] = {}
        self.beginnings: dict[str, Beginning] = {}  # of the tasks whose training has begun and not ended

    def __repr__(self) -> str:
        return overview.as_text(self)

    def _repr_html_(self) -> str:
        """For a notebook."""
        return overview.as_html(self)

    def get_base_model(self) -> PreTrainedModel:
        """The backbone, with its wrapped modules."""
        return self.base_model.model

    @property
    def heads(self) -> Mapping[str, Head]:
        """The heads of the tasks, by name; an adapter that came by PEFT's `add_adapter` may have none."""
        return cast("dict[str, Head]", dict(self.base_model.atlas_head.items()))

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next(self.get_base_model().parameters()).device

    @property
    def pooled_size(self) -> int:
        """D of the pooled vectors."""
        return pooled_size(self.get_base_model().config)

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks, in the order of learning."""
        return [name for name in self.peft_config if name != BASE]

    @property
    def task(self) -> str | None:
        """The active task; None while the backbone is bare."""
        return None if self.active_adapter == BASE else self.active_adapter

    @property
    def specs(self) -> Mapping[str, TaskSpec]:
        """What each task is, by name, in the order of learning; without those that came by PEFT's `add_adapter`."""
        specs = {name: self.peft_config[name].spec for name in self.tasks}
        return MappingProxyType({name: spec for name, spec in specs.items() if spec is not None})

    def add_task(self, spec: TaskSpec, experience: Sequence[str] | None = None, **overrides: Any) -> None:
        """Add a task: its adapter, key, queries and head, ready for its first stage, and make it the active one.

        Args:
            experience: the earlier tasks that it may reuse, which have to be `finished`; by default every one that
                is, `()` for none. So learn a task before you add the next that shall reuse it. For one without an
                adapter of its own stand those that it reuses. By default `AtlasTrainer` takes those out that do not
                help, and the adapter, too, if it does not (`docs/reuse.md`); with `recipe="paper"` all stay.
            overrides: fields of `AtlasConfig` that differ for this task.

        Raises:
            ValueError: the name is taken or not allowed, an experienced task is unknown or not finished, a site does
                not fit. The model is then as it was before.
        """
        if spec.name in self.tasks:
            raise ValueError(taken(spec.name, self.peft_config))
        reused = list(self.finished if experience is None else experience)
        self._check_known(*reused)
        check_finished(spec.name, reused, self.peft_config)
        reused = self._with_adapter(reused)
        own: dict[str, Any] = {
            "experience": reused,
            "stage": "experience" if reused else "expansion",
        }
        config = replace(deepcopy(self.task_config), **overrides, **own)
        config.head = head_arguments(spec, self.pooled_size, config.hidden_units(self.pooled_size))
        if config.modules_to_save:
            raise ValueError(
                f"modules_to_save is {config.modules_to_save!r}; a task of an AtlasModel has a head of its own and "
                "leaves the backbone as it is. Leave it out, or use PEFT's get_peft_model."
            )
        config.spec = spec
        self.add_adapter(spec.name, config)
        for site in self.base_model.sites_of(spec.name).values():
            site.cast(spec.name, torch.float32)  # PEFT gives adapters on a float64 backbone its type
        self.set_stage(spec.name, config.stage)

    def _with_adapter(self, tasks: Sequence[str]) -> list[str]:
        """Tasks that have adapters: these, or what those of them reuse that have none."""
        made_of = {task: self.peft_config[task].experience for task in tasks if not self.peft_config[task].own_adapter}
        if not made_of:
            return list(tasks)
        return list(dict.fromkeys(chain.from_iterable(made_of.get(task, [task]) for task in tasks)))

    @property
    def finished(self) -> list[str]:
        """The tasks that are learned to their end, in the order of learning; not what came by PEFT's `add_adapter`."""
        return [name for name in self.specs if self.peft_config[name].stage == "complete"]

    def check_may_learn(self, task: str, relearn: bool = False) -> None:
        """Raise a `ValueError` unless a task may learn: none reuses it, it is not finished, what it reuses is.

        With `relearn` it may be finished.
        """
        self._check_known(task)
        check_may_learn(task, self.peft_config, relearn)

    def _check_known(self, *names: str) -> None:
        unknown = [name for name in names if name == BASE or name not in self.peft_config]
        if unknown:
            raise ValueError(f"There is no task {', '.join(map(repr, unknown))}; there are {self.tasks}.")

    def spec(self, task: str) -> TaskSpec:
        """What a task is. Raises a `ValueError` for an unknown one, or one that came by PEFT's `add_adapter`."""
        self._check_known(task)
        spec = self.peft_config[task].spec
        if spec is None:
            raise ValueError(
                f"Task '{task}' came by PEFT's add_adapter or load_adapter, without a TaskSpec. Use add_task or "
                "load_tasks instead; delete_adapter removes it."
            )
        return spec

    def set_task(self, task: str | None) -> None:
        """Make a task the active one, for inference; None for the bare backbone."""
        if task is not None:
            self._check_known(task)
        self.set_adapter(task or BASE, inference_mode=True)

    def set_stage(self, task: str, stage: str, *, relearn: bool = False) -> None:
        """Put a task into a stage: what the stage trains becomes trainable, everything else is frozen.

        `"experience"`: the queries over the experience, and the head. `"expansion"`: the task's own adapter, key and
        query, and the head. `"complete"`: nothing; the task is finished.

        Args:
            relearn: take a finished task back into an earlier stage, with its weights as they are.

        Raises:
            ValueError: there is no such task or stage, the task reuses nothing or what is not finished, others reuse
                it, or it is finished itself. Nothing has changed then.
        """
        self._check_known(task)
        if stage not in STAGES:
            raise ValueError(f"stage is {stage!r}; possible are {', '.join(STAGES)}.")
        if stage == "experience" and not self.peft_config[task].experience:
            possible = ", ".join(name for name in STAGES if name != stage)
            raise ValueError(f"Task '{task}' reuses nothing, so it has no stage {stage!r}; possible are {possible}.")
        if stage != "complete":
            self.check_may_learn(task, relearn)
        self.peft_config[task].stage = stage
        if stage == "complete":
            self.beginnings.pop(task, None)
        self.set_adapter(task, inference_mode=stage == "complete")

    def delete_task(self, task: str) -> None:
        """Forget a task that no other reuses; if it was the active one, the backbone is bare then."""
        self.delete_adapter(task)

    def delete_adapter(self, adapter_name: str) -> None:
        """PEFT's name for `delete_task`."""
        self._check_known(adapter_name)
        was_active = self.active_adapter == adapter_name
        super().delete_adapter(adapter_name)
        self.metrics.pop(adapter_name, None)
        self.beginnings.pop(adapter_name, None)
        if was_active:  # PEFT would choose another task
            self.set_task(None)

    def load_adapter(self, model_id: str | PathLike[str], adapter_name: str, *args: Any, **kwargs: Any) -> Any:
        """As PEFT's, but never over a task that is finished or that others reuse."""
        if adapter_name in self.tasks:
            check_may_be_loaded_over(adapter_name, self.peft_config)
        return super().load_adapter(model_id, adapter_name, *args, **kwargs)

    def drop_experience(self, task: str, names: Sequence[str]) -> None:
        """Let a learned task no longer reuse these earlier ones. Its answers change (see `prune_experience`).

        The tasks that reuse it do not change: they use its adapter, not what it reuses. Raises a `ValueError` if the
        task does not reuse them, or is still being learned.
        """
        self._check_known(task)
        config = self.peft_config[task]
        unknown = [name for name in names if name not in config.experience]
        if unknown or config.stage != "complete":
            raise ValueError(
                f"Task '{task}' (stage '{config.stage}') reuses {config.experience}; {list(names)} cannot be dropped. "
                "Name tasks that a learned task reuses."
            )
        if names:
            self.base_model.drop_experience(task, names)

    def members(self, task: str) -> list[str]:
        """The tasks whose adapters a task adds up: its experience, then itself (once it is past the first stage)."""
        self._check_known(task)
        return self.base_model.members(task)

    def count_parameters(self, task: str) -> dict[str, int]:
        """Parameters that a task owns, by part: adapter, key, queries, head."""
        self._check_known(task)
        counts = dict.fromkeys(("adapter", "key", "queries", "head"), 0)
        for part, count in count_by_part(self, task).items():
            counts[PARTS[part].group] += count
        return counts

    def save_adapter(self, task: str, folder: Path) -> None:
        """PEFT's two files, in `folder/<task>`."""
        PeftModel.save_pretrained(self, str(folder), selected_adapters=[task], save_embedding_layers=False)
