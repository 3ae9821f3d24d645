"""A folder that is gone on with: it must be the beginning of this sequence, and one that can be written."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from safetensors import SafetensorError

from atlas_hf.folder import (
    INDEX,
    RESULTS,
    AtlasFormatError,
    Index,
    Results,
    clear_scratch,
)
from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.report.pictures import draw_results
from atlas_hf.tasks import TaskSpec

Stream = Sequence[tuple[TaskSpec, Mapping[str, Dataset]]]
_FULL = 2**20  # bytes; with less left on the disk, a failed write is put down to that
_PROBE = 2**14  # bytes that must go into the folder before anything is begun
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG)


def prepare(folder: Path) -> None:
    """Make the folder, and remove what a killed process left half written. To be done by one process alone.

    Raises:
        OSError: nothing can be written there; said before anything is learned.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_scratch(folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written ({error.strerror}). Nothing was learned, and what it holds can still be "
            "loaded. Free space, allow writing, or give another folder."
        ) from error


def resume(model: AtlasModel, folder: Path, stream: Stream, given: Results) -> Results:
    """Load what the folder holds into the model; the results so far, with the given environment.

    Args:
        stream: every task, in order.
        given: without tasks; its settings and description are those that the folder must have been begun with.

    Raises:
        ValueError: other tasks, settings or data than those that the folder was begun with; the folder is left alone.
    """
    if not (folder / INDEX).is_file():
        return given
    results = Results.load(folder)
    done = list(Index.load(folder).tasks)
    _check_tasks(folder, done, [spec.name for spec, _ in stream])
    _check_settings(folder, results.settings, given.settings)
    _check_settings(folder, results.description, given.description)
    results = _only_finished(folder, results, done)
    model.load_tasks(folder)
    known = list(zip(done, stream[: len(done)], results.tasks, strict=True))
    changed = [name for name, (spec, _), _ in known if spec != model.specs[name]]
    if changed:
        raise ValueError(f"{folder} holds {changed} with another TaskSpec. Give the same, or another folder.")
    changed = [name for name, (_, data), record in known if len(data["train"]) != record.train_examples]
    if changed:
        raise ValueError(f"{folder} holds {changed}, learned from other data. Give the same, or another folder.")
    return replace(given, tasks=results.tasks, matrix=results.matrix)


def _check_tasks(folder: Path, done: list[str], names: list[str]) -> None:
    if done != names[: len(done)]:
        raise ValueError(
            f"{folder} holds the tasks {done}; this sequence is {names}. Give the same "
            "sequence to go on with it, or another folder."
        )


def _check_settings(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now))  # as they were written: a tuple is a list
    changed = {name: (then.get(name, value), value) for name, value in now.items()}
    changed = {name: pair for name, pair in changed.items() if pair[0] != pair[1]}
    if changed:
        was = ", ".join(f"{name}={old!r} (now {new!r})" for name, (old, new) in changed.items())
        raise ValueError(f"{folder} was learned with {was}. Use the same settings to go on, or another folder.")


def _only_finished(folder: Path, results: Results, done: list[str]) -> Results:
    """Without the task whose results were written, but not yet its line in atlas.json: it is learned again."""
    results = results.first(len(done))
    if (found := [task.name for task in results.tasks]) != done:
        raise AtlasFormatError(
            f"{folder}: {RESULTS} is of {found}, {INDEX} of {done}. Restore the files, or use another "
            "folder."
        )
    return results


def write_results(results: Results, folder: Path) -> None:
    """`results.json`, and the pictures of it."""
    results.save(folder)
    draw_results(results, folder)


@contextmanager
def saying_what_is_safe(folder: Path, what: str, done: Sequence[str]) -> Iterator[None]:
    """Errors of the disk and of diverged training, with what is kept and how to go on."""
    kept = f"The finished tasks {list(done)} are in {folder} and can be loaded." if done else "No task was finished."
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"{error} {kept}") from error
    except (OSError, SafetensorError, RuntimeError) as error:
        if (reason := _of_the_disk(error, folder)) is None:
            raise
        raise OSError(
            f"{what} could not be written to {folder}: {reason}. {kept} Free space or allow writing, and run the same "
            "again: it goes on from there."
        ) from error


def _of_the_disk(error: Exception, folder: Path) -> str | None:
    """What is wrong with the disk, if that is why a write failed."""
    if isinstance(error, OSError):
        return error.strerror if error.errno in _DISK_ERRORS else None
    full = shutil.disk_usage(folder).free < _FULL  # torch and safetensors have errors of their own
    return "No space left on device" if full else None
