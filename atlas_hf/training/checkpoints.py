"""Checkpoints of a stage: which of them are whole, and what they remember beside the state of Trainer."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput, rotate_checkpoints

from atlas_hf.folder import read_json, sync, write_json

MARK = "atlas_progress.json"  # written last
_STATE = ("stage", "inference_mode", "experience_sha256")  # of a config, and no setting


def newest_first(stage: Path) -> list[Path]:
    """The checkpoints in the folder of a stage, by their step."""
    found = [folder for folder in stage.glob("checkpoint-*") if folder.name.partition("-")[2].isdigit()]
    return sorted(found, key=lambda folder: int(folder.name.partition("-")[2]), reverse=True)


def mark(checkpoint: Path, progress: Mapping[str, Any]) -> None:
    """Say that a checkpoint is whole, with the sizes of its files, and what a later run has to know."""
    for path in [*checkpoint.rglob("*"), checkpoint]:  # on the disk before they are called whole
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


class CheckpointMixin:
    """Checkpoints of `AtlasTrainer` that a training goes on from as if it had not been interrupted."""

    @property
    def fingerprint(self) -> str:
        """Of all that decides what the task comes to, but for the examples, of which only the number counts."""
        config = self.model.peft_config[self.task].to_dict()
        config = {name: value for name, value in config.items() if name not in _STATE}
        backbone, spec = self.model.base_sha256, asdict(self.spec)
        return fingerprint(self.task_args.to_dict(), config, backbone, spec, len(self.train_dataset))

    def last_checkpoint(self) -> Path | None:
        """The latest whole checkpoint of this task, if a training with the same settings wrote it."""
        return last_whole(Path(self.task_args.output_dir) / self.task, self.stages, self.fingerprint)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Older ones are removed once this one is whole, so that there is one to go on from at every moment."""
        super()._save_checkpoint(*args, **kwargs)
        if self.args.should_save:
            folder, limit = Path(self.args.output_dir), self.task_args.save_total_limit
            if not self.args.save_only_model:
                mark(folder / f"checkpoint-{self.state.global_step}", self._progress())
            rotate_checkpoints(str(folder), limit, self.state.best_model_checkpoint, use_mtime=True)

    def _progress(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "ended": self.control.should_training_stop,
            "opened": self.opened,
            "stage_metrics": self.stage_metrics,
            "seconds": time.perf_counter() - self._began,
        }

    def _recall(self, progress: dict[str, Any]) -> None:
        for name in ("opened", "stage_metrics", "seconds"):
            setattr(self, name, progress.get(name, getattr(self, name)))

    def _has_ended(self, checkpoint: Path) -> bool:
        """Was it written after the last step of this very training? Trainer would take one more."""
        progress = progress_of(checkpoint)
        return progress.get("ended", False) and progress["fingerprint"] == self.fingerprint

    def _end_again(self, checkpoint: str) -> TrainOutput:
        """What Trainer does after the last step."""
        self.state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()
        return TrainOutput(self.state.global_step, float("nan"), {})
