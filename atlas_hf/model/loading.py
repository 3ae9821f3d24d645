"""How tasks are read from the layout of `atlas_hf.folder`, onto the backbone that they were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from atlas_hf.folder import INDEX, WEIGHTS, AtlasFormatError, BaseModel, Index, check_task_folder, load_tensors
from atlas_hf.folder.index import TaskRecord
from atlas_hf.hub import is_repository
from atlas_hf.model.records import read_task
from atlas_hf.model.task_model import TaskModel


def backbone_source(
    base: BaseModel, given: PreTrainedModel | str | Path | None, is_local: bool
) -> PreTrainedModel | str | Path:
    """Where to load the backbone of learned tasks; what was downloaded must not name a path of this machine."""
    if given is not None:
        return given
    if base.id is None:
        raise ValueError(f"{INDEX} does not say which backbone to load; pass backbone=...")
    if not is_local and not is_repository(base.id):
        raise AtlasFormatError(f"{INDEX} names the backbone {base.id!r}, which is no repository; pass backbone=...")
    return base.id


def check_backbone(sha256: str, base: BaseModel) -> None:
    """Raise a `ValueError` if the backbone here is not the one that the tasks were trained on."""
    if sha256 != base.sha256:
        raise ValueError(
            f"The backbone differs from the one that the tasks were trained on ({base.id!r}, revision "
            f"{base.revision!r}, in {base.dtype}): sha256 {sha256[:12]}... here, {base.sha256[:12]}... "
            "then. Pass backbone=... with the same weights, loaded in that dtype."
        )


def convert_backbone(backbone: nn.Module, dtype: torch.dtype) -> None:
    """As `Module.to`, but adapters and heads stay in float32."""
    for name, tensor in chain(backbone.named_parameters(), backbone.named_buffers()):
        if ".atlas_" not in name and tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def load_tasks(model: TaskModel, index: Index, folder: Path, names: Sequence[str]) -> None:
    """Add tasks, the last one active and nothing trainable; if any file is wrong the model is as it was before."""
    for name in names:
        check_task_folder(folder, name, index.tasks[name])
    with ExitStack() as undo:
        trainable = any(parameter.requires_grad for parameter in model.parameters())
        undo.callback(_forget, model, names, model.active_adapter, model.training, trainable)
        for name in names:
            _load_task(model, folder, name, index.tasks[name])
        undo.pop_all()


def _load_task(model: TaskModel, folder: Path, name: str, record: TaskRecord) -> None:
    """Add a task from its folder; every tensor must be there with its shape."""
    model.add_adapter(name, read_task(folder, name, record, model.pooled_size), low_cpu_mem_usage=True)
    tuner = model.base_model
    tuner.assign(name, load_tensors(folder / name / WEIGHTS, tuner.task_tensors(name)))
    model.heads[name].to(model.device)
    if tuner.reusable_sha256(name) != record.adapter_sha256:
        raise AtlasFormatError(f"The adapter of task '{name}' is not the one that {INDEX} names.")
    model.metrics[name] = dict(record.metrics)
    model.set_task(name)


def _forget(model: TaskModel, names: Sequence[str], active: str, training: bool, trainable: bool) -> None:
    """Take back a load that failed."""
    for name in reversed([name for name in names if name in model.tasks]):
        model.delete_task(name)
    model.set_adapter(active, inference_mode=not trainable)
    model.train(training)
