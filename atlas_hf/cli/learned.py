"""Folders and repositories that were learned: where they are, and what their tasks are scored on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from atlas_hf.cli.own_tasks import OwnTask, spec_path
from atlas_hf.cli.stream_tasks import load_test
from atlas_hf.folder import INDEX
from atlas_hf.hub import locate
from atlas_hf.tasks import TaskSpec


def learned_folder(model_id: str, revision: str | None) -> Path:
    """The folder of a folder's name or a repository. Raises a `ValueError` if it holds no tasks."""
    folder = locate(model_id, revision)
    if folder is None:
        raise ValueError(f"{model_id} holds no tasks: it has no {INDEX}.")
    return folder


def scored_on(
    folder: Path, about: Mapping[str, Any], name: str, sources: Sequence[str] | None
) -> tuple[TaskSpec, Dataset]:
    """The test data of a task: its own, if it was learned from `--data` and is still where it was, or the stream's.

    Args:
        folder: of learned tasks.
        about: the description in its `results.json`.
        name: of the task.
        sources: `TASK=PLACE`, see `atlas_hf.cli.stream_tasks.read_sources`.

    Raises:
        ValueError: the task's data are not known.
    """
    own = spec_path(folder, name)
    if not own.is_file():
        return load_test(about, name, sources)
    spec, data = OwnTask.read(own).load()
    return spec, data["test"]
