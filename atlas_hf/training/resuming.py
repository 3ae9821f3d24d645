"""Going on with a folder that begins this sequence, or with a checkpoint, if all that decides is the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from atlas_hf.data.own_data import may_be_of
from atlas_hf.folder import (
    INDEX,
    RESULTS,
    WEIGHTS,
    AtlasFormatError,
    Index,
    Results,
    load_tensors,
    refuse_links,
)
from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.settings import as_written
from atlas_hf.tuner.checks import AGREED, comparable

Stream = Sequence[tuple[TaskSpec, Mapping[str, Dataset]]]


def check_tasks_of_model(model: AtlasModel, folder: Path) -> None:
    """The folder must hold every task of the model, with the same tensors, and begin with them: nothing else is saved
    and scored with the rest. Raises a `ValueError` and writes nothing.
    """
    here, index = model.tasks, Index.load(folder).tasks if (folder / INDEX).is_file() else {}
    remedy = (
        "Give a model without tasks, AtlasModel.from_pretrained(BACKBONE): the tasks of a folder are loaded into it."
    )
    if here != list(index)[: len(here)]:
        holds = f"the tasks {list(index)}" if index else "no tasks"
        raise ValueError(
            f"The model holds the tasks {here} already, but {folder} holds {holds}. {remedy} Or give the folder that "
            "holds them, with a stream that begins with them."
        )
    tensors = {name: model.base_model.task_tensors(name) for name in here}
    for name in here:
        refuse_links(folder / name / WEIGHTS, folder)
    saved = {name: load_tensors(folder / name / WEIGHTS, tensors[name], index[name].files[WEIGHTS]) for name in here}
    changed = [
        name
        for name in here
        if any(not torch.equal(one.cpu(), tensors[name][key].cpu()) for key, one in saved[name].items())
    ]
    if changed:
        raise ValueError(f"The tasks {changed} of the model are not those that {folder} holds. {remedy}")


def resume(model: AtlasModel, folder: Path, stream: Stream, given: Results) -> Results:
    """Load what the folder holds, if anything, into the model; the results so far, with the given environment.

    Args:
        model: without tasks, or with those of the folder.
        given: without tasks; its description is that which the folder must have been begun with. Its settings may be
            others, but for those in which tasks that reuse one another agree; in the results stand the folder's.

    Raises:
        ValueError: other tasks or data than those that the folder was begun with; the folder is left alone.
    """
    if not (folder / INDEX).is_file():
        return given
    results, done, names = Results.load(folder), list(Index.load(folder).tasks), [spec.name for spec, _ in stream]
    if done != names[: len(done)]:
        raise ValueError(
            f"{folder} holds the tasks {done}; this sequence is {names}. Give the same "
            "sequence to go on with it, or another folder."
        )
    now = {"token_weight": "each", **given.further_settings, **given.settings}
    _check_same(folder, as_written(results), {name: now[name] for name in AGREED if name in now})
    _check_same(folder, results.description, given.description)
    results = results.first(len(done))  # the next one's are written before its line in atlas.json: it is learned again
    if (found := [task.name for task in results.tasks]) != done:
        raise AtlasFormatError(
            f"{folder}: {RESULTS} is of {found}, {INDEX} of {done}. Restore the files, or use another folder."
        )
    model.load_tasks(folder)
    known = list(zip(done, stream[: len(done)], results.tasks, strict=True))
    changed = [name for name, (spec, _), _ in known if spec != model.specs[name]]
    if changed:
        raise ValueError(f"{folder} holds {changed} with another TaskSpec. Give the same, or another folder.")
    changed = [name for name, (_, data), record in known if not may_be_of(record.train_examples, data)]
    if changed:
        raise ValueError(f"{folder} holds {changed}, learned from other data. Give the same, or another folder.")
    return replace(results, description=given.description, environment=given.environment)


def _check_same(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """What an older version did not record, or only it did, is not compared."""
    now = json.loads(json.dumps(now))  # as they were written: a tuple is a list
    changed = [name for name in now if name in then and comparable(then[name]) != comparable(now[name])]
    if changed:
        was = ", ".join(f"{name}={then[name]!r} (now {now[name]!r})" for name in changed)
        raise ValueError(f"{folder} was learned with {was}. Use the same settings to go on, or another folder.")
