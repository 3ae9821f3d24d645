"""`AtlasModel`: one frozen backbone and the tasks it has learned."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import torch
from peft import PeftModel
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from atlas_hf import hub
from atlas_hf.data.collator import AtlasCollator, Encoder, example_rows
from atlas_hf.folder import BaseModel, Index
from atlas_hf.hub.sources import load_backbone, locate
from atlas_hf.model import answering, loading, prediction, records, saving
from atlas_hf.model.answering import AtlasOutput
from atlas_hf.model.evaluation import seeded
from atlas_hf.report.card import write_card
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import AtlasConfig, AtlasTuner
from atlas_hf.tuner.backbones import RANDOM_ORDER
from atlas_hf.tuner.config import BASE, STAGES
from atlas_hf.tuner.mixing import Mixture
from atlas_hf.tuner.pooling import default_pooling, pool, pool_runs, pooled_size
from atlas_hf.tuner.route import ROUTE, routed

PARTS = {"down": "adapter", "up": "adapter", "key": "key", "query": "queries", "experience_query": "queries"}


class AtlasModel(PeftModel):
    """A frozen backbone with one adapter, set of queries and head per task.

    Made by `AtlasModel.from_pretrained`, from a backbone or from a folder or repository of learned tasks. A task is
    an adapter of PEFT: `peft_config` holds its settings, and PEFT's own methods for adapters work on tasks.

    Args:
        backbone: any transformers encoder; it is frozen, and its linear modules are wrapped in place.
        processor: its processor, tokenizer or image processor; None if `predict` and the Trainer are not used.
        config: the defaults of every task (`AtlasConfig`: variant, width, sites ...).
        base_id, base_revision: where the backbone can be loaded from; by default its own `name_or_path`.

    Attributes:
        metrics: what was measured of each task, by name.
    """

    base_model: AtlasTuner

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
        self.metrics: dict[str, dict[str, float]] = {}

    # Tasks ---------------------------------------------------------------------------------------------------------

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
            spec: what the task is.
            experience: the earlier tasks to reuse; by default every one of them, `()` for none.
            overrides: fields of `AtlasConfig` that differ for this task.

        Raises:
            ValueError: the name is taken or not allowed, an experienced task is unknown, a site does not fit. The
                model is then as it was before.
        """
        if spec.name in self.tasks:
            raise ValueError(f"There is a task {spec.name!r} already; there are {self.tasks}. Choose another name.")
        reused = self.tasks if experience is None else list(experience)
        self._check_known(*reused)
        config = records.task_config(self.task_config, spec, reused, self.pooled_size, overrides)
        self.add_adapter(spec.name, config)
        self.set_stage(spec.name, config.stage)

    def _check_known(self, *names: str) -> None:
        unknown = [name for name in names if name == BASE or name not in self.peft_config]
        if unknown:
            raise ValueError(f"There is no task {', '.join(map(repr, unknown))}; there are {self.tasks}.")

    def _spec(self, task: str) -> TaskSpec:
        self._check_known(task)
        spec = self.peft_config[task].spec
        if spec is None:
            raise ValueError(f"Task '{task}' came by PEFT's add_adapter, without a TaskSpec. Use add_task or load_tasks.")
        return spec

    def set_task(self, task: str | None) -> None:
        """Make a task the active one, for inference; None for the bare backbone."""
        self._check_known(*([] if task is None else [task]))
        self.set_adapter(task or BASE, inference_mode=True)

    def set_stage(self, task: str, stage: str) -> None:
        """Put a task into a stage: what the stage trains becomes trainable, everything else is frozen.

        `"experience"`: the queries over the experience, and the head. `"expansion"`: the task's own adapter, key and
        query, and the head. `"complete"`: nothing.

        Raises:
            ValueError: there is no such task or stage, the task reuses nothing, or others reuse its adapter.
        """
        self._check_known(task)
        if stage not in STAGES:
            raise ValueError(f"stage is {stage!r}; possible are {', '.join(STAGES)}.")
        if stage == "experience" and not self.peft_config[task].experience:
            possible = ", ".join(STAGES[1:])
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
        """Forget a task that no other reuses; if it was the active one, the backbone is bare then."""
        self.delete_adapter(task)

    def delete_adapter(self, adapter_name: str) -> None:
        """PEFT's name for `delete_task`."""
        self._check_known(adapter_name)
        was_active = self.active_adapter == adapter_name
        super().delete_adapter(adapter_name)
        self.metrics.pop(adapter_name, None)
        if was_active:  # PEFT would choose another task
            self.set_task(None)

    def drop_experience(self, task: str, names: Sequence[str]) -> None:
        """Let a learned task no longer reuse these earlier ones. Its answers change (see `prune_experience`).

        The tasks that reuse it do not change: they use its adapter, not what it reuses.

        Raises:
            ValueError: the task does not reuse them, or is still being learned.
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
        return next(iter(self.base_model.sites_of(task).values())).members(task)

    def count_parameters(self, task: str) -> dict[str, int]:
        """Parameters that a task owns, by part: adapter, key, queries, head."""
        self._check_known(task)
        counts = dict.fromkeys([*PARTS.values(), "head"], 0)
        for key, tensor in self.base_model.task_tensors(task).items():
            owner = next(name for name in reversed(key.split(".")) if name.startswith("atlas_"))
            counts[PARTS.get(owner.removeprefix("atlas_"), "head")] += tensor.numel()
        return counts

    # Computation ---------------------------------------------------------------------------------------------------

    def get_base_model(self) -> PreTrainedModel:
        """The backbone, with its wrapped modules."""
        return self.base_model.model

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next(self.get_base_model().parameters()).device

    @property
    def pooled_size(self) -> int:
        """D of the pooled vectors."""
        return pooled_size(self.get_base_model().config)

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
        task, heads = self.task if task is None else task, self.base_model.atlas_head
        if task is None:
            raise ValueError(f"No task is active. Call set_task, or pass task=...; there are {self.tasks}.")
        if isinstance(task, str):
            pooled = self.pooled(task, **inputs)
            return answering.answer(task, heads[task] if task in heads else None, pooled, labels)
        answering.check_labels(task, heads, labels)
        mixture = self._mixture(task)
        return answering.answer_mixture(mixture, heads, self._pooled_mixture(mixture, inputs), labels)

    def pooled(self, task: str | Sequence[str] | None = None, **inputs: Any) -> Tensor:
        """The backbone's pooled vectors with the adapters of a task, (rows, D); `"__base__"` for the bare backbone.

        A list of tasks names one per example, as in `forward`.
        """
        task = self.active_adapter if task is None else task
        if not isinstance(task, str):
            return self._pooled_mixture(self._mixture(task), inputs)
        answering.check_inputs(inputs)
        self._check_known(*([] if task == BASE else [task]))
        return pool(*self._encoded(inputs, task=task), self._pooling(task))

    def _pooled_mixture(self, mixture: Mixture, inputs: dict[str, Any]) -> Tensor:
        answering.check_inputs(inputs)
        answering.check_rows(mixture, inputs)
        outputs, mask = self._encoded(mixture.ordered(inputs), runs=mixture.runs)
        poolings = {task: self._pooling(task) for task, _ in mixture.runs}
        return mixture.restored(pool_runs(outputs, mask, mixture.runs, poolings))

    def _encoded(self, inputs: dict[str, Any], **route: Any) -> tuple[ModelOutput, Tensor | None]:
        """What the backbone returns, and the mask of its last sequence. In evaluation the same inputs give the same."""
        backbone = self.get_base_model()
        is_random = backbone.config.model_type in RANDOM_ORDER and not self.training
        with seeded(self.device) if is_random else nullcontext():
            with routed(**route), self._enable_peft_forward_hooks(**inputs):
                return backbone(**inputs), ROUTE.get().mask

    def _pooling(self, task: str) -> str | None:
        config = self.task_config if task == BASE else self.peft_config[task]
        return config.pooling or default_pooling(self.get_base_model().config)

    def _mixture(self, tasks: Sequence[str]) -> Mixture:
        self._check_known(*(task for task in tasks if task != BASE))
        heads = self.base_model.atlas_head
        return Mixture.of(tasks, {task: heads[task].rows_per_example if task in heads else 1 for task in tasks})

    def coefficients(self, task: str, **inputs: Any) -> dict[str, Tensor]:
        """How much each adapter counts for each example, by site: (B, K), or (B, K, D) for channel weighting.

        Column k belongs to the k-th of `members(task)`.
        """
        self._check_known(task)
        with torch.no_grad(), routed(coefficients={}) as route:
            self.pooled(task, **inputs)
        passed = self.base_model.sites.items()
        return {path: route.coefficients[site] for path, site in passed if site in route.coefficients}

    # Prediction ----------------------------------------------------------------------------------------------------

    @cached_property
    def encoder(self) -> Encoder:
        """What turns texts, images and sounds into the backbone's inputs."""
        return prediction.make_encoder(self.processor, self.get_base_model().config)

    def collator(self, task: str) -> AtlasCollator:
        """What turns rows of a task's data set into batches of this model."""
        return AtlasCollator(self._spec(task), self.encoder)

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

    # Saving and loading --------------------------------------------------------------------------------------------

    @cached_property
    def base_sha256(self) -> str:
        """Digest of the backbone's parameters and buffers: their names (unwrapped), shapes and values."""
        return saving.backbone_sha256(self.get_base_model())

    def index(self) -> Index:
        """What `atlas.json` says of this model, but for the digests of the files."""
        base_id, revision = self.task_config.base_model_name_or_path, self.task_config.revision
        base = BaseModel(base_id, revision, self.base_sha256, self.base_dtype)
        return saving.make_index(base, self.base_model, self.tasks, self.metrics)

    def save_pretrained(self, save_directory: str | Path, tasks: Sequence[str] | None = None, **_: Any) -> None:
        """Write each task to its own folder, and `atlas.json` last, so that a reader never meets half a state.

        The layout is that of the Hub repository. A task folder also loads with plain PEFT.

        Args:
            save_directory: the folder; made if it is not there.
            tasks: write only these; the others are in the folder already. By default all.

        Raises:
            ValueError: what could not be loaded again; nothing is written then.
        """
        names = self.tasks if tasks is None else list(tasks)
        self._check_known(*names)
        saving.save_tasks(self, self.index(), Path(save_directory), names)

    def save_adapter(self, task: str, folder: Path) -> None:
        """PEFT's two files, in `folder/<task>`."""
        saving.save_adapter(self, task, folder)

    def push_to_hub(
        self, repo_id: str, *, private: bool | None = None, token: str | bool | None = None
    ) -> list[hub.Pushed]:
        """Bring every learned task to the Hub: one commit and one tag (`task-01-<name>`) each, exactly once.

        Tasks that are there already are not sent. To keep results and card of every earlier state, push the folder of
        `learn_sequence` instead (`atlas-hf push`, or `AtlasTrainingArguments(push_to_hub=True)`).

        Raises:
            ValueError: the backbone is a local folder.
            HubError: see `atlas_hf.hub.push`.
        """
        self.check_pushable()
        repo_id = hub.check_access(repo_id, private=private, token=token)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            write_card(folder, repo_id)
            return hub.push(folder, repo_id, private=private, token=token)

    def check_pushable(self) -> None:
        """Raise a `ValueError` if nobody else could load the backbone that is named in what is pushed."""
        saving.check_pushable(self.task_config.base_model_name_or_path)

    def create_or_update_model_card(self, output_dir: str) -> None:
        """PEFT's card would name local paths; ours is written by `atlas_hf.report.card`."""

    @classmethod
    def from_pretrained(
        cls,
        model_id: str | Path,
        revision: str | None = None,
        tasks: Sequence[str] | None = None,
        *,
        backbone: PreTrainedModel | str | Path | None = None,
        config: AtlasConfig | None = None,
        dtype: torch.dtype | None = None,
        token: str | None = None,
    ) -> AtlasModel:
        """Load learned tasks with their backbone, or begin on a bare backbone.

        Args:
            model_id: a folder or Hub repository that `save_pretrained` or `push_to_hub` wrote, or a backbone (folder,
                Hub id, or one that the package ships: `"atlas-hf/digits-vilt"`).
            revision: a commit, branch or tag; `"task-02-vqa"` is the model as it was after its second task.
            tasks: load only these and what they reuse; by default all.
            backbone: instead of the one named in `atlas.json`: a model, or where to load one. Its weights must be
                the same.
            config: defaults of the tasks to be learned; by default those of the last task learned.
            dtype: what to convert the backbone to; by default it stays in the type it was trained with.
            token: for private repositories.

        Raises:
            AtlasFormatError: a file is missing, altered, or not safetensors.
            ValueError: unknown task, or a backbone other than the one trained on.
        """
        folder = locate(model_id, revision, tasks, token)
        if folder is None:
            return cls._from_backbone(backbone or model_id, revision, config, dtype or torch.float32, token)
        base = Index.load(folder).base_model
        source = loading.backbone_source(base, backbone, is_local=folder == Path(model_id))
        model = cls._from_backbone(source, base.revision, config, getattr(torch, base.dtype), token)
        model.task_config.base_model_name_or_path, model.task_config.revision = base.id, base.revision
        model.load_tasks(folder, tasks)
        if dtype is not None:
            loading.convert_backbone(model.get_base_model(), dtype)
        if config is None and model.tasks:
            model.task_config = records.default_config(model.peft_config[model.tasks[-1]])
        return model.eval()

    @classmethod
    def _from_backbone(
        cls,
        source: PreTrainedModel | str | Path,
        revision: str | None,
        config: AtlasConfig | None,
        dtype: torch.dtype,
        token: str | None,
    ) -> AtlasModel:
        """A model without tasks."""
        backbone, processor, base_id = load_backbone(source, revision, dtype, token)
        return cls(backbone, processor, config, base_id, revision).eval()

    def load_tasks(self, folder: str | Path, tasks: Sequence[str] | None = None) -> None:
        """Add tasks from a folder that `save_pretrained` wrote, with what they reuse; none if any file is wrong."""
        folder = Path(folder)
        index = Index.load(folder)
        wanted = index.closure(None if tasks is None else list(tasks))
        names = [name for name in wanted if name not in self.tasks]
        loading.check_backbone(self.base_sha256, index.base_model)
        loading.load_tasks(self, index, folder, names, self.pooled_size)
        self.metrics |= {name: dict(index.tasks[name].metrics) for name in names}
