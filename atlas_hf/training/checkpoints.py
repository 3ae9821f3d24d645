"""Checkpoints of a stage: which are whole, which are good, and what they remember beside the state of Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import Tensor
from transformers.trainer import TRAINER_STATE_NAME

from atlas_hf.folder import (
    CONFIG,
    WEIGHTS,
    AtlasFormatError,
    check_json,
    check_types,
    read_json,
    read_tensors,
    sync,
    write_json,
)

MARK = "atlas_progress.json"  # written last


@dataclass(frozen=True)
class Progress:
    """What a later run has to know of a training beside the state of Trainer; fields as `AtlasTrainer` has them."""

    fingerprint: str
    ended: bool = False  # no step of the stage is left
    opened: list[str] = field(default_factory=list)
    stage_metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A folder that Trainer wrote in a stage: `<task>/<stage>/checkpoint-<step>`.

    The task that trained lies in a folder of its name in it, with its stage in the config.
    """

    path: Path

    @classmethod
    def of_stage(cls, folder: Path) -> list[Checkpoint]:
        """Those in the folder of a stage, whole or not, the newest first."""
        steps = {path: path.name.partition("-")[2] for path in folder.glob("checkpoint-*")}
        found = [path for path, step in steps.items() if step.isdigit()]
        return [cls(path) for path in sorted(found, key=lambda path: int(steps[path]), reverse=True)]

    @classmethod
    def last(cls, task: Path, stages: Sequence[str], fingerprint: str) -> Checkpoint | None:
        """The latest whole one of a task, from its latest stage, if a training with this fingerprint wrote it."""
        found = (checkpoint for stage in reversed(stages) for checkpoint in cls.of_stage(task / stage))
        return next((one for one in found if (had := one.progress) and had.fingerprint == fingerprint), None)

    def mark(self, progress: Progress) -> None:
        """Say that it is whole, with the sizes of its files, and what a later run has to know."""
        for path in [*self.path.rglob("*"), self.path]:  # on the disk before they are called whole
            sync(path)
        write_json(self.path / MARK, {**asdict(progress), "files": self._sizes()})

    @property
    def progress(self) -> Progress | None:
        """What `mark` was given; None if it is not whole: half written, or half removed."""
        values = read_json(self.path / MARK) if (self.path / MARK).is_file() else {}
        if values.pop("files", None) != self._sizes():
            return None
        try:
            progress = Progress(**values)
        except TypeError as error:
            raise AtlasFormatError(f"{self.path / MARK} is not what atlas_hf writes: {error}. Delete it.") from error
        check_types(progress, str(self.path / MARK))
        return progress

    def _sizes(self) -> dict[str, int]:
        files = [path for path in self.path.rglob("*") if path.is_file() and path.name != MARK]
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in files}

    def has_ended(self, fingerprint: str) -> bool:
        """Was it written after the last step of this very training? Trainer would take one more."""
        progress = self.progress
        return progress is not None and progress.ended and progress.fingerprint == fingerprint

    def stage(self, task: str) -> str:
        """The stage of the task that it belongs to. Raises a `ValueError` if it is another task's."""
        if not (self.path / task).is_dir():
            held = sorted(path.parent.name for path in self.path.glob(f"*/{WEIGHTS}"))
            raise ValueError(f"{self.path} is a checkpoint of {held or 'nothing'}, not of task '{task}'.")
        return str(read_json(self.path / task / CONFIG).get("stage"))

    def weights(self, task: str, stage: str) -> dict[str, Tensor]:
        """The task's tensors, for PEFT. Raises a `ValueError` if it is another task's or another stage's."""
        if (own := self.stage(task)) != stage:
            raise ValueError(
                f"{self.path} is a checkpoint of stage '{own}'; task '{task}' is in stage '{stage}'. Resume from one "
                "of this stage."
            )
        if (state := self.path / TRAINER_STATE_NAME).is_file():
            check_json(state)  # Trainer reads it next
        return read_tensors(self.path / task / WEIGHTS)


def last_good_checkpoint(checkpoints: Path, task: str) -> Path | None:
    """The latest one in a stage's folder whose weights can be read and are all finite; None if there is none."""
    for checkpoint in Checkpoint.of_stage(checkpoints):
        try:
            if all(tensor.isfinite().all() for tensor in read_tensors(checkpoint.path / task / WEIGHTS).values()):
                return checkpoint.path
        except AtlasFormatError:
            continue
    return None
