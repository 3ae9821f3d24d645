"""What is written of a task: which file owns a fact, and which one holds a copy.

    fact                                      owner                  copy
    experience, stage                         adapter_config.json    atlas.json
    problem type, labels, rows per example    task.json              adapter_config.json, "head"

`atlas.json` alone has to tell which tasks to download, and plain PEFT builds a head from `adapter_config.json` alone.
`task_config` and `task_record` write the copies, `read_task` checks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from atlas_hf.folder import CONFIG, INDEX, SPEC, AtlasFormatError, TaskRecord, read_json
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import AtlasConfig, head_arguments


def task_config(
    defaults: AtlasConfig, spec: TaskSpec, experience: Sequence[str], in_features: int, overrides: Mapping[str, Any]
) -> AtlasConfig:
    """The settings of a new task, in its first stage; `in_features` is D of the vectors that its head reads."""
    experience = list(experience)
    own: dict[str, Any] = {
        "experience": experience,
        "stage": "experience" if experience else "expansion",
        "head": head_arguments(spec, in_features),
    }
    config = replace(deepcopy(defaults), **overrides, **own)
    config.spec = spec
    return config


def default_config(config: AtlasConfig) -> AtlasConfig:
    """A task's settings without what belongs to the task."""
    return replace(
        deepcopy(config), experience=[], experience_sha256={}, head=None, stage="expansion", inference_mode=False
    )


def task_record(position: int, config: AtlasConfig, adapter_sha256: str, metrics: Mapping[str, float]) -> TaskRecord:
    """What `atlas.json` says of a task, but for the digests of its files, which are not written yet."""
    return TaskRecord(position, config.experience, config.stage, adapter_sha256, {}, dict(metrics))


def read_task(folder: Path, name: str, record: TaskRecord, in_features: int) -> AtlasConfig:
    """A task's settings from its two files, if they and what `atlas.json` says of it agree.

    Raises:
        AtlasFormatError: they do not, or a file is not what atlas_hf writes.
    """
    try:
        spec = TaskSpec.from_dict(read_json(folder / name / SPEC))
        config = AtlasConfig(**read_json(folder / name / CONFIG))
        config.check_patterns()
    except (TypeError, ValueError) as error:
        raise AtlasFormatError(f"A record of task '{name}' is not one of atlas_hf: {error}") from error
    if spec.name != name or config.experience != record.experience or config.stage != record.stage:
        raise AtlasFormatError(f"The files of task '{name}' disagree with {INDEX} in name, experience or stage.")
    if config.head != head_arguments(spec, in_features):
        raise AtlasFormatError(f"{name}/{CONFIG} describes a head that {SPEC} does not.")
    config.spec, config.inference_mode = spec, True
    return config
