"""Checkpoints of a stage: which of them are whole, and what they remember beside the state of Trainer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atlas_hf.storage import read_json, sync, write_json

MARK = "atlas_progress.json"  # written last


def newest_first(stage: Path) -> list[Path]:
    """The checkpoints in the folder of a stage, by their step."""
    found = [folder for folder in stage.glob("checkpoint-*") if folder.name.partition("-")[2].isdigit()]
    return sorted(found, key=lambda folder: int(folder.name.partition("-")[2]), reverse=True)


def mark(checkpoint: Path, progress: Mapping[str, Any]) -> None:
    """Bring a checkpoint to the disk, then say that it is whole, and what a later run has to know."""
    for path in checkpoint.rglob("*"):
        sync(path)
    write_json(checkpoint / MARK, {**progress, "files": _sizes(checkpoint)})


def _sizes(checkpoint: Path) -> dict[str, int]:
    files = [path for path in checkpoint.rglob("*") if path.is_file() and path.name != MARK]
    return {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}


def progress_of(checkpoint: Path) -> dict[str, Any]:
    """What `mark` was given; empty if the checkpoint is not whole: half written, or half removed."""
    progress = read_json(checkpoint / MARK) if (checkpoint / MARK).is_file() else {}
    return progress if progress.get("files") == _sizes(checkpoint) else {}


def last_whole(task: Path, stages: Sequence[str], fingerprint: str) -> Path | None:
    """The latest whole checkpoint of a task, from its latest stage, if it was written by the same training.

    Args:
        task: the folder with one folder for each stage.
        stages: their names, in order.
        fingerprint: of the settings and data (`fingerprint`).
    """
    for checkpoint in (path for stage in reversed(stages) for path in newest_first(task / stage)):
        if (progress := progress_of(checkpoint)) and progress["fingerprint"] == fingerprint:
            return checkpoint
    return None


def fingerprint(*settings: Any) -> str:
    """A digest that is the same in every process for the same settings, sets among them."""
    text = json.dumps(settings, sort_keys=True, default=lambda value: sorted(value) if _is_set(value) else str(value))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_set(value: Any) -> bool:
    return isinstance(value, (set, frozenset))
