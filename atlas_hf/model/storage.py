"""How the tasks of a model are written to the layout of `atlas_hf.folder`, and read from it onto their backbone.

`adapter_config.json` owns experience and stage; `atlas.json`, which alone has to tell what to download, has a copy.
`task.json` owns problem type, labels and rows per example; "head" in `adapter_config.json` is a copy for plain PEFT.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from atlas_hf.folder import (
    CONFIG,
    INDEX,
    SPEC,
    TASK_FILES,
    WEIGHTS,
    AtlasFormatError,
    BaseModel,
    Index,
    Owned,
    TaskRecord,
    brief,
    check_task_folder,
    file_sha256,
    load_tensors,
    read_json,
    read_spec,
    refuse_links,
    write_json,
)
from atlas_hf.hub import is_repository
from atlas_hf.model.task_model import TaskModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import AtlasConfig, is_head_of

logger = logging.getLogger(__name__)


def save_tasks(model: TaskModel, index: Index, folder: Path, names: Sequence[str]) -> None:
    """Write each named task to its own folder, and the index of all last. See `AtlasModel.save_pretrained`."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give a folder.")
    kept = [name for name in index.tasks if name not in names]
    absent = [name for name in kept if not all((folder / name / file).is_file() for file in TASK_FILES)]
    if absent:
        raise ValueError(f"{folder} does not hold the tasks {absent} yet; save all tasks (leave `tasks` out).")
    model.base_model.check_loaded()
    if kept:
        _check_kept(kept, index, folder)
    _warn_of_forgotten(index, folder)
    owned = Owned(folder)
    owned.check([folder / INDEX, *(folder / name / file for name in names for file in TASK_FILES)])
    specs = {name: model.spec(name) for name in index.tasks}
    check_tensors(model, names)
    for name in names:
        _check_reused(model, name, index)
    for name in names:
        with owned.replacing(folder / name) as temporary:
            model.save_adapter(name, temporary.parent)
            write_json(temporary / SPEC, specs[name].to_dict())
    for name in index.tasks:
        for file in TASK_FILES:
            refuse_links(folder / name / file, folder)
        files = {file: file_sha256(folder / name / file) for file in TASK_FILES}
        index.tasks[name] = replace(index.tasks[name], files=files)
    index.save(folder)


def _check_reused(model: TaskModel, task: str, index: Index) -> None:
    """What a task reuses is what it was learned on."""
    digests = model.peft_config[task].experience_sha256
    changed = [name for name, digest in digests.items() if index.tasks[name].adapter_sha256 != digest]
    if changed:
        raise ValueError(
            f"Task '{task}' was learned on {changed} as they were then: their weights were changed since, and the "
            "folder could not be loaded again. Load the tasks from where they were saved last."
        )


def _check_kept(names: Sequence[str], index: Index, folder: Path) -> None:
    """The folder's tasks that are not written are those of the model: `atlas.json` will name them as such."""
    there = Index.load(folder).tasks if (folder / INDEX).is_file() else {}
    others = [name for name in names if name in there and not _same(there[name], index.tasks[name])]
    if others:
        raise ValueError(
            f"{folder} holds other tasks of the names {others} than the model does, and is left as it is. Save all "
            "tasks of the model to another folder (leave `tasks` out)."
        )


def _warn_of_forgotten(index: Index, folder: Path) -> None:
    """Tasks of the folder that the model does not hold stay there as files, and `atlas.json` no longer names them."""
    try:
        there = Index.load(folder).tasks if (folder / INDEX).is_file() else {}
    except AtlasFormatError:  # damaged: it is written anew
        return
    if gone := [name for name in there if name not in index.tasks]:
        logger.warning(
            "%s holds the tasks %s, which this model does not: %s no longer names them. Their folders stay, and each "
            "loads with model.load_adapter(%r, name, subfolder=name).", folder, gone, INDEX, str(folder),
        )  # fmt: skip


def _same(one: TaskRecord, other: TaskRecord) -> bool:
    return one.adapter_sha256 == other.adapter_sha256


def check_tensors(model: TaskModel, names: Sequence[str]) -> None:
    """Raise a `ValueError` if tasks could be saved but not loaded: of another type, on no device, or not finite."""
    tensors = ((name, *item) for name in names for item in model.base_model.task_tensors(name).items())
    for task, key, tensor in tensors:
        if tensor.dtype != torch.float32:
            raise ValueError(
                f"Task '{task}': {key} is {tensor.dtype}; adapters and heads are kept in float32. To convert "
                "the backbone alone, load with from_pretrained(..., dtype=...)."
            )
        if tensor.is_meta:
            raise ValueError(f"Task '{task}': {key} is on the meta device and has no values. Load the task again.")
        if not tensor.isfinite().all():
            raise ValueError(f"Task '{task}': {key} holds NaN or infinite values. Learn the task again.")


def backbone_id(base: BaseModel, is_local: bool) -> str:
    """Where to load the backbone of learned tasks; what was downloaded must not name a path of this machine."""
    if base.id is None:
        raise ValueError(f"{INDEX} does not say which backbone to load; pass backbone=...")
    if not is_local and not is_repository(base.id):
        raise AtlasFormatError(f"{INDEX} names the backbone {base.id!r}, which is no repository; pass backbone=...")
    if not Path(base.id).is_dir() and not is_repository(base.id):
        raise ValueError(
            f"The backbone was loaded from the folder {base.id!r}, which is not there (any more). Pass backbone=..., "
            "the place where it is now."
        )
    return base.id


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


def check_same(model: TaskModel, index: Index, names: Sequence[str]) -> None:
    """Raise a `ValueError` if tasks of a model are not those that a folder has under these names."""
    others = [name for name in names if model.base_model.reusable_sha256(name) != index.tasks[name].adapter_sha256]
    if others:
        raise ValueError(
            f"The model holds other tasks of the names {others} than the folder does: both cannot be in one model. "
            "Load the folder into a model without tasks, or name others with tasks=[...]."
        )


def _load_task(model: TaskModel, folder: Path, name: str, record: TaskRecord) -> None:
    """Add a task from its folder; every tensor must be there with its shape."""
    model.add_adapter(name, _read_config(folder, name, record, model.pooled_size), low_cpu_mem_usage=True)
    tuner = model.base_model
    tuner.assign(name, load_tensors(folder / name / WEIGHTS, tuner.task_tensors(name), record.files[WEIGHTS]))
    model.heads[name].to(model.device)
    if tuner.reusable_sha256(name) != record.adapter_sha256:
        raise AtlasFormatError(f"The adapter of task '{name}' is not the one that {INDEX} names.")
    model.metrics[name] = dict(record.metrics)
    model.set_task(name)


def _read_config(folder: Path, name: str, record: TaskRecord, in_features: int) -> AtlasConfig:
    """A task's settings from its two files, which must agree with one another and with `atlas.json`."""
    try:
        spec = read_spec(folder / name)
        config = AtlasConfig(**read_json(folder / name / CONFIG))
        config.check_patterns()
    except (TypeError, ValueError) as error:
        raise AtlasFormatError(f"A record of task '{name}' is not one of atlas_hf: {brief(error)}") from error
    if spec.name != name or config.experience != record.experience or config.stage != record.stage:
        raise AtlasFormatError(f"The files of task '{name}' disagree with {INDEX} in name, experience or stage.")
    if not is_head_of(config.head, spec, in_features):
        raise AtlasFormatError(f"{name}/{CONFIG} describes a head that {SPEC} does not.")
    if config.modules_to_save:
        raise AtlasFormatError(f"{name}/{CONFIG} has modules_to_save, which no task of an AtlasModel has.")
    config.spec, config.inference_mode = spec, True
    return config


def spec_beside(
    model_id: str | Path, name: str, subfolder: str | None = None, revision: str | None = None, **where: Any
) -> TaskSpec | None:
    """What the task is whose adapter PEFT loads from there under this name; None if plain PEFT saved it."""
    if (folder := Path(model_id)).is_dir():
        path = folder / (subfolder or "") / SPEC
        for file in TASK_FILES:  # PEFT reads the others next
            refuse_links(path.with_name(file), folder)
        if not path.is_file():
            return None
    else:
        options: dict[str, Any] = {name: where.get(name) for name in ("token", "cache_dir")}
        try:
            path = Path(hf_hub_download(str(model_id), SPEC, subfolder=subfolder, revision=revision, **options))
        except EntryNotFoundError:
            return None
    return replace(read_spec(path.parent), name=name)


def index_above(model_id: str | Path) -> Index | None:
    """Of the local folder of tasks that PEFT loads one from, given it or the task's own folder."""
    found = [place for place in (Path(model_id), Path(model_id).parent) if (place / INDEX).is_file()]
    return Index.load(found[0]) if found and Path(model_id).is_dir() else None


def _forget(model: TaskModel, names: Sequence[str], active: str, training: bool, trainable: bool) -> None:
    """Take back a load that failed."""
    for name in reversed([name for name in names if name in model.tasks]):
        model.delete_task(name)
    model.set_adapter(active, inference_mode=not trainable)
    model.train(training)
