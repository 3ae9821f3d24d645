"""`AtlasModel`: one frozen backbone and the tasks it has learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PreTrainedModel

from atlas_hf import hub
from atlas_hf.folder import DTYPES, BaseModel, Index, TaskRecord, library_versions
from atlas_hf.hub import is_repository, load_backbone, local_or_id, locate, trained_pooling
from atlas_hf.model import storage
from atlas_hf.model.backed_model import BackedModel
from atlas_hf.model.foreign_arguments import (
    FROM_PRETRAINED,
    PUSH_TO_HUB,
    SAVE_PRETRAINED,
    refuse,
    tasks_to_save,
    told_apart,
)
from atlas_hf.report.card import write_card
from atlas_hf.tuner import AtlasConfig, is_head_of


class AtlasModel(BackedModel):
    """A frozen backbone with one adapter, set of queries and head per task.

    Made by `AtlasModel.from_pretrained`, from a backbone or from a folder or repository of learned tasks. A task is
    an adapter of PEFT: `peft_config` holds its settings, and PEFT's own methods for adapters work on tasks.

    Args:
        backbone: any transformers encoder; it is frozen, and its linear modules are wrapped in place.
        processor: its processor, tokenizer or image processor; None if `predict` and the Trainer are not used.
        config: the defaults of every task (`AtlasConfig`: variant, width, sites ...).
        base_id, base_revision: where the backbone can be loaded from; by default its own `name_or_path`, and `""` for
            nowhere: it is then passed on loading (`from_pretrained(..., backbone=...)`).

    Attributes:
        metrics: what was measured of each task, by name.
    """

    def index(self) -> Index:
        """What `atlas.json` says of this model, but for the digests of the files."""
        base, records = self.check_backbone(), {}
        for position, name in enumerate(self.tasks, start=1):
            own, sha256 = self.peft_config[name], self.base_model.reusable_sha256(name)
            metrics = dict(self.metrics.get(name, {}))
            records[name] = TaskRecord(position, own.experience, own.stage, sha256, {}, metrics)
        return Index(base, records, library_versions())

    def save_pretrained(  # type: ignore[override]  # a folder of tasks, not of one adapter
        self,
        save_directory: str | Path,
        safe_serialization: bool = True,
        selected_adapters: Sequence[str] | None = None,
        save_embedding_layers: str | bool = "auto",
        is_main_process: bool = True,
        *,
        tasks: Sequence[str] | None = None,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        **others: Any,
    ) -> None:
        """Write each task to its own folder, and `atlas.json` last, so that a reader never meets half a state.

        The layout is that of the Hub repository. A task folder also loads with plain PEFT.

        Args:
            tasks: write only these; the others are in the folder already. By default all.
            selected_adapters: PEFT's word for `tasks`.
            is_main_process: False writes nothing: another process does.
            push_to_hub, repo_id, private, token: afterwards call the method `push_to_hub`, by default with the name
                of the folder.
            others: the rest of PEFT's and transformers' arguments can only say what is done anyway, as can
                `safe_serialization` and `save_embedding_layers` (the backbone is not saved).

        Raises:
            ValueError: what could not be loaded again, or is not done here; nothing is written then.
        """
        refuse("save_pretrained", others, SAVE_PRETRAINED)
        tasks = tasks_to_save(tasks, selected_adapters, safe_serialization, save_embedding_layers)
        if push_to_hub:
            self.check_pushable()
        elif (repo_id, private, token) != (None, None, None):
            raise ValueError("repo_id, private and token go with push_to_hub=True.")
        if not is_main_process:
            return
        names = self.tasks if (named := _names(tasks)) is None else named
        self._check_known(*names)
        storage.save_tasks(self, self.index(), Path(save_directory), names)
        if push_to_hub:
            self.push_to_hub(repo_id or Path(save_directory).resolve().name, private=private, token=token)

    def push_to_hub(  # type: ignore[override]  # a commit per task, not one
        self, repo_id: str, *, private: bool | None = None, token: str | bool | None = None, **others: Any
    ) -> list[hub.Pushed]:
        """Bring every learned task to the Hub: one commit and one tag (`task-01-<name>`) each, exactly once.

        Tasks that are there already are not sent. To keep results and card of every earlier state, push the folder of
        `learn_sequence` instead (`atlas-hf push`, or `AtlasTrainingArguments(push_to_hub=True)`).

        Raises:
            ValueError: the backbone is a local folder, or one of `others`, transformers' further arguments, asks for
                what is not done here.
            HubError: see `atlas_hf.hub.push`.
        """
        refuse("push_to_hub", others, PUSH_TO_HUB)
        self.check_pushable()
        repo_id = hub.ensure_writable_repo(repo_id, private=private, token=token)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            write_card(folder, repo_id)
            return hub.push(folder, repo_id, private=private, token=token)

    def check_pushable(self) -> None:
        """What is pushed names its backbone: raise a `ValueError` unless others can load that."""
        base = self.task_config.base_model_name_or_path
        if base is None or local_or_id(base) != base or not is_repository(base):
            raise ValueError(
                f"Nobody else could load this model: the backbone {base!r} is a local folder. Push the backbone to "
                "the Hub and load it from there (AtlasModel.from_pretrained('owner/backbone'))."
            )

    def create_or_update_model_card(self, output_dir: str) -> None:
        """PEFT's card would name local paths; ours is written by `atlas_hf.report.card`."""

    @classmethod
    def from_pretrained(  # type: ignore[override]  # brings its backbone
        cls,
        model: PreTrainedModel | str | Path | None = None,
        model_id: str | Path | None = None,
        *,
        revision: str | None = None,
        tasks: Sequence[str] | None = None,
        backbone: PreTrainedModel | str | Path | None = None,
        config: AtlasConfig | None = None,
        dtype: torch.dtype | str | None = None,
        token: str | bool | None = None,
        torch_device: torch.device | str | None = None,
        **others: Any,
    ) -> AtlasModel:
        """Load learned tasks with their backbone, or begin on a bare backbone.

        `from_pretrained("folder")`, or in PEFT's order, with a backbone, `from_pretrained(backbone, "folder")`.

        Args:
            model: a folder or Hub repository that `save_pretrained` or `push_to_hub` wrote, or a backbone (folder,
                Hub id, one that the package ships: `"atlas-hf/digits-vilt"`, or a model).
            model_id: the folder or repository of tasks, if `model` is the backbone.
            revision: a commit, branch or tag; `"task-02-vqa"` is the model as it was after its second task.
            tasks: load only these and what they reuse; by default all.
            backbone: a model, or where to load one, with the same weights as the one that `atlas.json` names.
            config: defaults of the tasks to be learned; by default those of the last task learned.
            dtype: what to convert the backbone to (`torch.bfloat16`, or its name); by default it stays in the type it
                was trained with.
            token: for private repositories.
            torch_device: where to put the model; by default the backbone stays where it is.
            others: the rest of PEFT's and transformers' arguments can only say what is done anyway.

        Raises:
            AtlasFormatError: a file is missing, altered, or not safetensors.
            ValueError: unknown task, a backbone other than the one trained on, or an argument that is not for this.
        """
        refuse("from_pretrained", others, FROM_PRETRAINED)
        source, backbone = told_apart(model, model_id, backbone)
        dtype, tasks = _dtype(dtype), _names(tasks)
        folder = None if source is None else locate(source, revision, tasks, token)
        if source is None or folder is None:
            bare: Any = source if backbone is None else backbone
            loaded, processor, base_id = load_backbone(bare, revision, dtype or torch.float32, token)
            config = config or AtlasConfig()
            if config.pooling is None and base_id:
                config = replace(config, pooling=trained_pooling(base_id, revision, token))
            atlas = cls(loaded, processor, config, base_id, revision)
        else:
            base = Index.load(folder).base_model
            where = storage.backbone_id(base, folder == Path(source)) if backbone is None else backbone
            loaded, processor, _ = load_backbone(where, base.revision, getattr(torch, base.dtype), token)
            atlas = cls(loaded, processor, config).eval()
            atlas._take_over(folder, base, tasks, dtype, config is None)  # noqa: SLF001 (its own)
        return atlas.to(torch_device).eval()

    def _take_over(
        self, folder: Path, base: BaseModel, tasks: Sequence[str] | None, dtype: torch.dtype | None, settings: bool
    ) -> None:
        """The tasks of a folder, what it says of the backbone, and, for the next task, the settings of the last."""
        self.task_config.base_model_name_or_path = base.id and local_or_id(base.id)
        self.task_config.revision = base.revision
        self.load_tasks(folder, tasks)
        if dtype is not None:
            self._convert(dtype)
        if settings and self.tasks:
            last = deepcopy(self.peft_config[self.tasks[-1]])
            unused: dict[str, Any] = {"experience": [], "experience_sha256": {}, "own_adapter": True, "head": None}
            self.task_config = replace(last, **unused, stage="expansion", inference_mode=False)

    def load_adapter(  # type: ignore[override]  # PEFT's arguments, passed on
        self, model_id: str | Path, adapter_name: str, *args: Any, **kwargs: Any
    ) -> Any:
        """PEFT's, for one task from the folder that is its own: `load_adapter(folder, "vqa", subfolder="vqa")`.

        With the `task.json` that is there it can be asked and saved; without, it is an adapter alone. What it reuses
        has to be here. In a folder with an `atlas.json`, a `ValueError` if it was learned on another backbone.
        """
        spec = storage.spec_beside(model_id, adapter_name, **kwargs)
        if (index := storage.index_above(model_id)) is not None:
            self.check_learned_here(index.base_model)
        loaded = super().load_adapter(model_id, adapter_name, *args, **kwargs)
        config = self.peft_config[adapter_name]
        if spec is not None and is_head_of(config.head, spec, self.pooled_size):
            config.spec = spec
        return loaded

    def load_tasks(self, folder: str | Path, tasks: Sequence[str] | None = None) -> None:
        """Add tasks from a folder that `save_pretrained` wrote, with what they reuse; none if any file is wrong.

        Those that the model holds already stay; a `ValueError` if the folder's are others of the same names.
        """
        folder = Path(folder)
        index = Index.load(folder)
        wanted = index.closure(_names(tasks))
        storage.check_same(self, index, [name for name in wanted if name in self.tasks])
        self.check_learned_here(index.base_model)
        storage.load_tasks(self, index, folder, [name for name in wanted if name not in self.tasks])
        self._learned_on = index.base_model


def _names(tasks: Sequence[str] | None) -> list[str] | None:
    """A list, and no string for one: its letters would be names."""
    if isinstance(tasks, str) or not (tasks is None or isinstance(tasks, Iterable)):
        raise TypeError(f"tasks is {tasks!r}; give a list of names, such as [{str(tasks)!r}].")
    return None if tasks is None else list(tasks)


def _dtype(given: torch.dtype | str | None) -> torch.dtype | None:
    """One that a backbone may have. Raises a `ValueError` for every other: numbers would be lost."""
    name = str(given).removeprefix("torch.")
    if given is not None and name not in DTYPES:
        raise ValueError(
            f"dtype is {given!r}; possible are {', '.join(DTYPES)}, or None for the type of the training."
        )
    return None if given is None else getattr(torch, name)
