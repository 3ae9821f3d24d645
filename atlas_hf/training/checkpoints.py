"""Checkpoints of a stage: which are whole, which are good, and what they remember beside the state of Trainer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import sort_checkpoints

from atlas_hf.folder import (
    CHECKPOINTS,
    CONFIG,
    MARK,
    START,
    WEIGHTS,
    AtlasFormatError,
    Owned,
    check_json,
    check_types,
    creating,
    kind,
    read_json,
    read_tensors,
    refuse_links,
    refuse_others,
    sync,
    write_json,
)

# What Trainer puts into a checkpoint, beside the task's folder.
_TRAINERS = (
    "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth", "trainer_state.json",
    "training_args.bin",
)  # fmt: skip
_PARTIAL = f".{MARK}.*.partial", f".{START}.*.partial"  # folders in which what we add is written


@dataclass(frozen=True)
class Progress:
    """What a later run has to know of a training beside the state of Trainer; fields as `AtlasTrainer` has them."""

    fingerprint: str
    ended: bool = False  # no step of the stage is left
    opened: list[str] = field(default_factory=list)
    stage_metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0
    sources: dict[str, float] = field(default_factory=dict)


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
        found = [checkpoint for stage in reversed(stages) for checkpoint in cls.of_stage(task / stage)]
        for checkpoint in found:
            if (checkpoint.path / MARK).is_file():
                refuse_links(checkpoint.path, task.parent)
        return next((one for one in found if (had := one.progress) and had.fingerprint == fingerprint), None)

    @property
    def step(self) -> int:
        """After which it was written, by its name; 0 for a folder that has another."""
        number = self.path.name.removeprefix("checkpoint-")
        return int(number) if number.isdigit() else 0

    def mark(self, progress: Progress) -> None:
        """Say that it is whole, with the sizes of its files, and what a later run has to know."""
        for path in [*self.path.rglob("*"), self.path]:  # on the disk before they are called whole
            sync(path)
        write_json(self.path / MARK, {**asdict(progress), "files": self._sizes()})

    @property
    def progress(self) -> Progress | None:
        """What `mark` was given; None if it is not whole: half written, or half removed."""
        if not (self.path / MARK).is_file():
            return None
        self._refuse_links()
        values = read_json(self.path / MARK)
        if values.pop("files", None) != self._sizes():
            return None
        try:
            progress = Progress(**values)
        except TypeError as error:
            raise AtlasFormatError(f"{self.path / MARK} is not what atlas_hf writes: {error}. Delete it.") from error
        check_types(progress, str(self.path / MARK))
        return progress

    def _refuse_links(self) -> None:
        """Trainer would follow them, too."""
        for path in sorted(self.path.rglob("*")):
            refuse_links(path, self.path)

    def _sizes(self) -> dict[str, int]:
        files = [path for path in self.path.rglob("*") if path.is_file() and path.name != MARK]
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in files}

    def written(self) -> Iterator[Path]:
        """What Trainer and we put into it, so far as it is there; not what others did."""
        if kind(self.path / MARK) == "file":
            yield from (self.path / file for file in read_json(self.path / MARK).get("files", ()))
        ours = MARK, START, *(f"{folder}/*" for folder in _PARTIAL)
        for name in (*ours, *_TRAINERS, f"*/{CONFIG}", f"*/{WEIGHTS}", "*/README.md"):
            yield from self.path.glob(name)

    def has_ended(self, fingerprint: str) -> bool:
        """Was it written after the last step of this very training? Trainer would take one more."""
        progress = self.progress
        return progress is not None and progress.ended and progress.fingerprint == fingerprint

    def stage(self, task: str) -> str:
        """The stage of the task that it belongs to. Raises a `ValueError` if it is another task's."""
        if not (self.path / task).is_dir():
            held = sorted(path.parent.name for path in self.path.glob(f"*/{WEIGHTS}"))
            raise ValueError(f"{self.path} is a checkpoint of {held or 'nothing'}, not of task '{task}'.")
        self._refuse_links()
        return str(read_json(self.path / task / CONFIG).get("stage"))

    def experience(self, task: str) -> list[str]:
        """What the task reused when it was written; `stage` has looked at it."""
        return list(read_json(self.path / task / CONFIG).get("experience", []))

    def keep_start(self, values: Mapping[str, Tensor]) -> None:
        """What the stage trains, as it was before, if that is to be gone back to."""
        if values:
            with creating(self.path / START) as temporary:
                save_file({key: tensor.contiguous() for key, tensor in values.items()}, temporary)

    def start(self) -> dict[str, Tensor]:
        """What `keep_start` was given."""
        if not (self.path / START).is_file():
            return {}
        refuse_links(self.path / START, self.path)
        return read_tensors(self.path / START)

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
            refuse_links(checkpoint.path / task / WEIGHTS, checkpoints)
            if all(tensor.isfinite().all() for tensor in read_tensors(checkpoint.path / task / WEIGHTS).values()):
                return checkpoint.path
        except AtlasFormatError:
            continue
    return None


def check_steps(root: Path, stage: Path, steps: range) -> None:
    """Raise a `ValueError` for what is where checkpoints of these steps will be written, or on the way, and not ours.

    Args:
        root: the training's `output_dir`; `stage` is a folder in it.
    """
    owned = Owned(root)
    owned.check([])
    way = [place for place in (stage, *stage.parents) if place != root and place.is_relative_to(root)]
    found = [place for place in way if kind(place) not in (None, "folder")]
    numbered = [path for path in stage.glob("checkpoint-*") if path.name.partition("-")[2].isdigit()]
    found += [path for path in numbered if int(path.name.partition("-")[2]) in steps and not _is_ours(owned, path)]
    refuse_others(found)


def begin_checkpoint(root: Path, path: Path) -> None:
    """To be called before Trainer writes one, of a training whose `output_dir` is `root`.

    One of ours of the same step is removed. Raises a `ValueError` if something of others is in its place.
    """
    owned = Owned(root)
    _remove(owned, path)
    owned.begin_folder(path)


def remove_older_checkpoints(root: Path, stage: Path, limit: int | None, best: str | None) -> None:
    """As Trainer does by `save_total_limit`, but of ours alone: the last and the best always stay."""
    owned = Owned(root)
    ours = [Path(path) for path in sort_checkpoints(str(stage), use_mtime=True) if _is_ours(owned, Path(path))]
    spared = {*ours[-1:], *([Path(best)] if best else [])}
    count = max(limit, len(spared)) if limit and limit > 0 else len(ours)
    removable = [path for path in ours if path not in spared]
    for path in removable[: max(0, len(ours) - count)]:
        _remove(owned, path)


def remove_checkpoints(folder: Path, task: str) -> None:
    """Those of a task in the folder of a sequence."""
    root = folder / CHECKPOINTS
    if kind(root) != "folder":
        return
    owned = Owned(root)
    for path in (root / task).glob("*/checkpoint-*"):
        _remove(owned, path)
    owned.remove(root / task)


def _is_ours(owned: Owned, path: Path) -> bool:
    """By our list, or by the mark that we put there."""
    on_the_way = [place for place in path.parents if place != owned.folder and place.is_relative_to(owned.folder)]
    real = kind(path) == "folder" and all(kind(place) == "folder" for place in on_the_way)
    return real and (owned.owns(path) or kind(path / MARK) == "file")


def _remove(owned: Owned, path: Path) -> None:
    """A checkpoint, if it is ours; what others put into it stays."""
    if not _is_ours(owned, path):
        return
    files = [file for file in Checkpoint(path).written() if kind(file) == "file" and file.is_relative_to(path)]
    folders = {parent for file in files for parent in file.parents if parent.is_relative_to(path)}
    # A run that was killed while it wrote may have left these empty: `path` is <task>/<stage>/checkpoint-<step>.
    folders.update([path / path.parent.parent.name, *(found for one in _PARTIAL for found in path.glob(one))])
    on_the_way = [place for place in path.parents if place != owned.folder and place.is_relative_to(owned.folder)]
    owned.take_in([path, *folders, *files, *(on_the_way if not owned.owns(path) else ())])
    owned.remove(path)
