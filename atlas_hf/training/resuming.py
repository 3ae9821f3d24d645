"""A folder that is gone on with: it must be the beginning of this sequence, learned with the same settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from atlas_hf.folder import INDEX, RESULTS, AtlasFormatError, Index, Results
from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.settings import changed_settings

Stream = Sequence[tuple[TaskSpec, Mapping[str, Dataset]]]


def resume(model: AtlasModel, folder: Path, stream: Stream, given: Results) -> Results:
    """Load what the folder holds into the model; the results so far, with the given environment.

    Args:
        model: without tasks, or with those of the folder.
        folder: which may hold nothing yet.
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
    _check_same(folder, results.settings | results.further_settings, given.settings | given.further_settings)
    _check_same(folder, results.description, given.description)
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


def _check_same(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if changed := changed_settings(then, now):
        was = ", ".join(f"{name}={old!r} (now {new!r})" for name, (old, new) in changed.items())
        raise ValueError(f"{folder} was learned with {was}. Use the same settings to go on, or another folder.")


def _only_finished(folder: Path, results: Results, done: list[str]) -> Results:
    """Without the task whose results were written, but not yet its line in atlas.json: it is learned again."""
    results = results.first(len(done))
    if (found := [task.name for task in results.tasks]) != done:
        raise AtlasFormatError(
            f"{folder}: {RESULTS} is of {found}, {INDEX} of {done}. Restore the files, or use another folder."
        )
    return results
