"""How an `AtlasModel` is written to and read from the layout of `atlas_hf.folder.storage`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from atlas_hf import hub
from atlas_hf.folder import (
    CONFIG,
    INDEX,
    SPEC,
    TASK_FILES,
    WEIGHTS,
    AtlasFormatError,
    BaseModel,
    Index,
    TaskRecord,
    check_task_folder,
    file_sha256,
    library_versions,
    load_tensors,
    read_json,
    replacing,
    write_json,
)
from atlas_hf.hub.sources import is_repository, load_backbone, locate
from atlas_hf.report.card import write_card
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import AtlasConfig
from atlas_hf.tuner.heads import head_arguments

if TYPE_CHECKING:
    from atlas_hf.model.atlas_model import AtlasModel


class SaveLoadMixin:
    """`save_pretrained` and `from_pretrained` of `AtlasModel`."""

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
        base = BaseModel(
            self.task_config.base_model_name_or_path, self.task_config.revision, self.base_sha256, self.base_dtype
        )
        records = {
            name: TaskRecord(
                position=position,
                experience=self.peft_config[name].experience,
                stage=self.peft_config[name].stage,
                adapter_sha256=self.base_model.reusable_sha256(name),
                files={},
                metrics=self.metrics.get(name, {}),
            )
            for position, name in enumerate(self.specs, start=1)
        }
        return Index(base, records, library_versions())

    def save_pretrained(self, save_directory: str | Path, tasks: Sequence[str] | None = None, **_: Any) -> None:
        """Write each task to its own folder, and `atlas.json` last, so that a reader never meets half a state.

        The layout is that of the Hub repository. A task folder also loads with plain PEFT.

        Args:
            save_directory: the folder; made if it is not there.
            tasks: write only these; the others are in the folder already. By default all.
        """
        folder = Path(save_directory)
        names = self.tasks if tasks is None else list(tasks)
        self._check_savable(folder, names)
        index = self.index()
        for name in names:
            with replacing(folder / name) as temporary:
                self.save_adapter(name, temporary.parent)
                write_json(temporary / SPEC, self.specs[name].to_dict())
        for name in self.tasks:
            files = {file: file_sha256(folder / name / file) for file in TASK_FILES}
            index.tasks[name] = replace(index.tasks[name], files=files)
        index.save(folder)

    def _check_savable(self, folder: Path, names: list[str]) -> None:
        """What could not be loaded again is an error before the first file is written."""
        self._check_known(names)
        if folder.is_file():
            raise ValueError(f"{folder} is a file; give a folder.")
        kept = [name for name in self.tasks if name not in names]
        absent = [name for name in kept if not all((folder / name / file).is_file() for file in TASK_FILES)]
        if absent:
            raise ValueError(f"{folder} does not hold the tasks {absent} yet; save all tasks (leave `tasks` out).")
        for name in names:
            for key, tensor in self.base_model.task_tensors(name).items():
                if tensor.dtype in (torch.float16, torch.bfloat16):
                    raise ValueError(
                        f"Task '{name}': {key} is {tensor.dtype}; adapters and heads are kept in float32. To convert "
                        "the backbone alone, load with from_pretrained(..., dtype=...)."
                    )
                if not tensor.isfinite().all():
                    raise ValueError(f"Task '{name}': {key} holds NaN or infinite values. Learn the task again.")

    def save_adapter(self, task: str, folder: Path) -> None:
        """PEFT's two files, in `folder/<task>`."""
        super().save_pretrained(str(folder), selected_adapters=[task], save_embedding_layers=False)

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
        """What is pushed names its backbone: that must be something that others can load."""
        base = self.task_config.base_model_name_or_path
        if base is None or Path(base).exists() or not is_repository(base):
            raise ValueError(
                f"Nobody else could load this model: the backbone {base!r} is a local folder. Push the backbone to "
                "the Hub and load it from there (AtlasModel.from_pretrained('owner/backbone'))."
            )

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
        index = Index.load(folder)
        base = index.base_model
        source = backbone or base.id
        if source is None:
            raise ValueError(f"{INDEX} does not say which backbone to load; pass backbone=...")
        if backbone is None and folder != Path(model_id) and not is_repository(base.id):
            raise AtlasFormatError(
                f"{INDEX} names the backbone {base.id!r}, which is no repository; pass backbone=..."
            )
        model = cls._from_backbone(source, base.revision, config, getattr(torch, base.dtype), token)
        model.task_config.base_model_name_or_path, model.task_config.revision = base.id, base.revision
        model.load_tasks(folder, tasks)
        if dtype is not None:
            model._convert_backbone(dtype)
        if config is None and model.tasks:
            model.task_config = model._defaults_of(model.tasks[-1])
        return model.eval()

    def load_tasks(self, folder: str | Path, tasks: Sequence[str] | None = None) -> None:
        """Add tasks from a folder that `save_pretrained` wrote, with what they reuse; none if any file is wrong."""
        folder = Path(folder)
        index = Index.load(folder)
        names = [name for name in index.closure(None if tasks is None else list(tasks)) if name not in self.specs]
        self._check_base(index.base_model)
        for name in names:
            check_task_folder(folder, name, index.tasks[name])
        with ExitStack() as undo:
            undo.callback(self._forget, names, self.active_adapter, self.training, self._is_trainable())
            for name in names:
                self._load_task(folder, name, index.tasks[name])
            undo.pop_all()

    def _forget(self, names: list[str], active: str, training: bool, trainable: bool) -> None:
        """Take back a load that failed."""
        for name in reversed([name for name in names if name in self.peft_config]):
            self.base_model.delete_adapter(name)
            self.specs.pop(name, None)
            self.metrics.pop(name, None)
        self.set_adapter(active, inference_mode=not trainable)
        self.train(training)

    def _is_trainable(self) -> bool:
        return any(parameter.requires_grad for parameter in self.parameters())

    def _convert_backbone(self, dtype: torch.dtype) -> None:
        """As `Module.to`, but adapters and heads stay in float32."""
        base = self.get_base_model()
        for name, tensor in chain(base.named_parameters(), base.named_buffers()):
            if ".atlas_" not in name and tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)

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

    def _check_base(self, base: BaseModel) -> None:
        if self.base_sha256 != base.sha256:
            raise ValueError(
                f"The backbone differs from the one that the tasks were trained on ({base.id!r}, revision "
                f"{base.revision!r}, in {base.dtype}): sha256 {self.base_sha256[:12]}... here, {base.sha256[:12]}... "
                "then. Pass backbone=... with the same weights, loaded in that dtype."
            )

    def _load_task(self, folder: Path, name: str, record: TaskRecord) -> None:
        """Add a task from its folder; every tensor must be there with its shape."""
        try:
            spec = TaskSpec.from_dict(read_json(folder / name / SPEC))
            config = AtlasConfig(**read_json(folder / name / CONFIG))
            config.check_patterns()
        except (TypeError, ValueError) as error:
            raise AtlasFormatError(f"A record of task '{name}' is not one of atlas_hf: {error}") from error
        self._check_task_files(name, spec, config, record)
        config.inference_mode = True
        self.add_adapter(name, config, low_cpu_mem_usage=True)
        expected = self.base_model.task_tensors(name)
        self.base_model.assign(name, load_tensors(folder / name / WEIGHTS, expected))
        self.base_model.atlas_head[name].to(self.device)
        digest = self.base_model.reusable_sha256(name)
        if digest != record.adapter_sha256:
            raise AtlasFormatError(f"The adapter of task '{name}' is not the one that {INDEX} names.")
        self.specs[name] = spec
        self.metrics[name] = dict(record.metrics)
        self.set_task(name)

    def _check_task_files(self, name: str, spec: TaskSpec, config: AtlasConfig, record: TaskRecord) -> None:
        if spec.name != name or config.experience != record.experience or config.stage != record.stage:
            raise AtlasFormatError(
                f"The files of task '{name}' disagree with {INDEX} in name, experience or stage."
            )
        if config.head != head_arguments(spec, self.pooled_size):
            raise AtlasFormatError(f"{name}/{CONFIG} describes a head that {SPEC} does not.")

    def _defaults_of(self, task: str) -> AtlasConfig:
        """A task's settings without what belongs to the task."""
        config = deepcopy(self.peft_config[task])
        return replace(
            config, experience=[], experience_sha256={}, head=None, stage="expansion", inference_mode=False
        )


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor's values as bytes, of any dtype."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
