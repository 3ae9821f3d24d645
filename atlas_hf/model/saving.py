"""How the tasks of a model are written to the layout of `atlas_hf.folder`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn

from atlas_hf.folder import (
    SPEC,
    TASK_FILES,
    BaseModel,
    Index,
    file_sha256,
    library_versions,
    replacing,
    tensor_bytes,
    write_json,
)
from atlas_hf.model.records import task_record
from atlas_hf.model.task_model import TaskModel


def backbone_sha256(backbone: nn.Module) -> str:
    """Digest of a backbone's parameters and buffers: their names (unwrapped), shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        if ".atlas_" not in name:
            digest.update(f"{name.replace('.base_layer.', '.')} {tuple(tensor.shape)}".encode())
            digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def make_index(model: TaskModel, base_sha256: str) -> Index:
    """What `atlas.json` says of a model, but for the digests of the files."""
    config = model.task_config
    base = BaseModel(config.base_model_name_or_path, config.revision, base_sha256, model.base_dtype)
    records = {
        name: task_record(
            position, model.peft_config[name], model.base_model.reusable_sha256(name), model.metrics.get(name, {})
        )
        for position, name in enumerate(model.tasks, start=1)
    }
    return Index(base, records, library_versions())


def save_tasks(model: TaskModel, index: Index, folder: Path, names: Sequence[str]) -> None:
    """Write each named task to its own folder, and the index of all last: no reader ever meets half a state.

    Raises:
        ValueError: what could not be loaded again; nothing is written then.
    """
    _check_target(index, folder, names)
    specs = {name: model.spec(name) for name in index.tasks}
    for name in names:
        _check_tensors(name, model.base_model.task_tensors(name))
    for name in names:
        with replacing(folder / name) as temporary:
            save_adapter(model, name, temporary.parent)
            write_json(temporary / SPEC, specs[name].to_dict())
    for name in index.tasks:
        files = {file: file_sha256(folder / name / file) for file in TASK_FILES}
        index.tasks[name] = replace(index.tasks[name], files=files)
    index.save(folder)


def save_adapter(model: TaskModel, task: str, folder: Path) -> None:
    """PEFT's two files, in `folder/<task>`."""
    PeftModel.save_pretrained(model, str(folder), selected_adapters=[task], save_embedding_layers=False)


def _check_target(index: Index, folder: Path, names: Sequence[str]) -> None:
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give a folder.")
    kept = [name for name in index.tasks if name not in names]
    absent = [name for name in kept if not all((folder / name / file).is_file() for file in TASK_FILES)]
    if absent:
        raise ValueError(f"{folder} does not hold the tasks {absent} yet; save all tasks (leave `tasks` out).")


def _check_tensors(name: str, tensors: Mapping[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        if tensor.dtype in (torch.float16, torch.bfloat16):
            raise ValueError(
                f"Task '{name}': {key} is {tensor.dtype}; adapters and heads are kept in float32. To convert "
                "the backbone alone, load with from_pretrained(..., dtype=...)."
            )
        if not tensor.isfinite().all():
            raise ValueError(f"Task '{name}': {key} holds NaN or infinite values. Learn the task again.")
