"""`AtlasModel`: one frozen backbone and the tasks it has learned."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PreTrainedModel

from atlas_hf import hub
from atlas_hf.folder import BaseModel, Index, TaskRecord, library_versions, tensor_bytes
from atlas_hf.hub import is_repository, load_backbone, local_or_id, locate
from atlas_hf.model import storage
from atlas_hf.model.answering_model import AnsweringModel
from atlas_hf.report.card import write_card
from atlas_hf.tuner import AtlasConfig


class AtlasModel(AnsweringModel):
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

    @cached_property
    def base_sha256(self) -> str:
        """Digest of the backbone's parameters and buffers: their names (unwrapped), shapes and values."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.get_base_model().state_dict().items()):
            if ".atlas_" not in name:
                digest.update(f"{name.replace('.base_layer.', '.')} {tuple(tensor.shape)}".encode())
                digest.update(tensor_bytes(tensor))
        return digest.hexdigest()

    def index(self) -> Index:
        """What `atlas.json` says of this model, but for the digests of the files."""
        config, records = self.task_config, {}
        for position, name in enumerate(self.tasks, start=1):
            own, sha256 = self.peft_config[name], self.base_model.reusable_sha256(name)
            metrics = dict(self.metrics.get(name, {}))
            records[name] = TaskRecord(position, own.experience, own.stage, sha256, {}, metrics)
        base = BaseModel(config.base_model_name_or_path, config.revision, self.base_sha256, self.base_dtype)
        return Index(base, records, library_versions())

    def save_pretrained(  # type: ignore[override]  # a folder of tasks, not of one adapter
        self, save_directory: str | Path, tasks: Sequence[str] | None = None, **_: Any
    ) -> None:
        """Write each task to its own folder, and `atlas.json` last, so that a reader never meets half a state.

        The layout is that of the Hub repository. A task folder also loads with plain PEFT.

        Args:
            tasks: write only these; the others are in the folder already. By default all.

        Raises:
            ValueError: what could not be loaded again; nothing is written then.
        """
        names = self.tasks if tasks is None else list(tasks)
        self._check_known(*names)
        storage.save_tasks(self, self.index(), Path(save_directory), names)

    def push_to_hub(  # type: ignore[override]  # a commit per task, not one
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
        model_id: str | Path,
        revision: str | None = None,
        tasks: Sequence[str] | None = None,
        *,
        backbone: PreTrainedModel | str | Path | None = None,
        config: AtlasConfig | None = None,
        dtype: torch.dtype | None = None,
        token: str | bool | None = None,
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
            loaded, processor, base_id = load_backbone(backbone or model_id, revision, dtype or torch.float32, token)
            return cls(loaded, processor, config, base_id, revision).eval()
        base = Index.load(folder).base_model
        source = storage.backbone_id(base, folder == Path(model_id)) if backbone is None else backbone
        loaded, processor, _ = load_backbone(source, base.revision, getattr(torch, base.dtype), token)
        model = cls(loaded, processor, config).eval()
        model.task_config.base_model_name_or_path = base.id and local_or_id(base.id)
        model.task_config.revision = base.revision
        model.load_tasks(folder, tasks)
        if dtype is not None:
            storage.convert_backbone(model.get_base_model(), dtype)
        if config is None and model.tasks:
            last = deepcopy(model.peft_config[model.tasks[-1]])
            model.task_config = replace(
                last, experience=[], experience_sha256={}, head=None, stage="expansion", inference_mode=False
            )
        return model.eval()

    def load_tasks(self, folder: str | Path, tasks: Sequence[str] | None = None) -> None:
        """Add tasks from a folder that `save_pretrained` wrote, with what they reuse; none if any file is wrong."""
        folder, index = Path(folder), Index.load(folder)
        wanted = index.closure(None if tasks is None else list(tasks))
        storage.check_backbone(self.base_sha256, index.base_model)
        storage.load_tasks(self, index, folder, [name for name in wanted if name not in self.tasks])
