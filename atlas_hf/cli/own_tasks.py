"""`atlas-hf learn --data`: a task of one's own; what it is stands as YAML in the output folder, and can be edited."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from datasets import DatasetDict

from atlas_hf.cli.learn_options import OwnDataArguments, read_yaml
from atlas_hf.data.own_data import own_task
from atlas_hf.folder import (
    INDEX,
    EditedError,
    Index,
    Owned,
    check_size,
    paths_of_a_run,
    refuse_links,
    saying_that_nothing_was_learned,
)
from atlas_hf.hub import check_data_set, check_is_there, is_repository
from atlas_hf.tasks import TaskSpec, check_task_name

Loaded = tuple[TaskSpec, DatasetDict]
SPEC_LIMIT = 2**19  # bytes; YAML takes long to read, and this much names 20,000 classes


@dataclass(frozen=True)
class OwnTask:
    """An own task, to be read again: `data` is a folder or Hub id, `seed` that of the rows that are held out."""

    spec: TaskSpec
    data: str
    seed: int = 0

    def load(self) -> Loaded:
        """The task with its data, checked as `own_task` checks them."""
        _check_place(self.data)
        return own_task(self.data, self.spec.name, spec=self.spec, seed=self.seed)

    def to_yaml(self) -> str:
        """Fields of the spec that are not set are left out."""
        values = {"data": self.data, "seed": self.seed}
        for name, value in self.spec.to_dict().items():
            if value not in (None, ()):
                values[name] = list(value) if isinstance(value, tuple) else value
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)

    @classmethod
    def read(cls, path: Path) -> OwnTask:
        """The reverse of `to_yaml`; a `ValueError` says what is wrong with the file."""
        if path.exists():
            check_size(path, SPEC_LIMIT)
        values = read_yaml(path, "Write it with --spec-only.")
        if not isinstance(values, dict) or not isinstance(values.get("data"), str):
            raise ValueError(f"{path} does not say where the data are; give a line `data: FOLDER or Hub id`.")
        place, seed = values.pop("data"), values.pop("seed", 0)
        return cls(TaskSpec.from_dict(values), place, seed)


def own_tasks(options: OwnDataArguments, output: str, seed: int) -> list[Loaded]:
    """The own tasks that the folder holds, in their order, and the one that is asked for, which is shown and written.

    Raises a `ValueError` for bad data, or a folder with a task that was not learned from own data.
    """
    folder = Path(output)
    with saying_that_nothing_was_learned(folder):
        done = list(Index.load(folder).tasks) if (folder / INDEX).is_file() else []
    task, loaded = _asked_for(options, seed)
    if not done:
        _check_apart(folder, Path(task.data))
    path = spec_path(folder, task.spec.name)
    print(f"{path}:\n{task.to_yaml()}")
    if task.spec.name not in done and not (options.spec and Path(options.spec).resolve() == path.resolve()):
        with saying_that_nothing_was_learned(folder):
            _write(task, path, [] if options.spec_only else [*done, task.spec.name])
    if options.spec_only:
        return [loaded]
    earlier = {name: _again(folder, name) for name in done if name != task.spec.name}
    return [earlier.get(name, loaded) for name in dict.fromkeys([*done, task.spec.name])]


def _check_apart(folder: Path, data: Path) -> None:
    """Raise a `ValueError` if what is written would be read as data the next time, pictures as a class of images."""
    output, read = (Path(os.path.realpath(place)) for place in (folder, data))
    if data.is_dir() and output.is_relative_to(read):
        raise ValueError(
            f"The output {folder} lies in the data {data}, whose images and tables are all read: those that are "
            "written would be among them the next time. Nothing was changed. Give an --output outside of the data."
        )


def _write(task: OwnTask, path: Path, tasks: list[str]) -> None:
    """What it is, unless something is in the way of this, or of what is to be learned."""
    owned = Owned(path.parent)
    owned.check([path, *(paths_of_a_run(path.parent, tasks) if tasks else ())])
    try:
        with owned.replacing(path) as temporary:
            temporary.write_text(task.to_yaml(), encoding="utf-8")
    except EditedError as error:
        if path.read_text(encoding="utf-8") != task.to_yaml():
            raise ValueError(f"{error} To learn the task as it says, give --spec {path}.") from error


def _asked_for(options: OwnDataArguments, seed: int) -> tuple[OwnTask, Loaded]:
    if options.spec:
        task = OwnTask.read(Path(options.spec))
        task = replace(task, data=_absolute(options.data or task.data))
        return task, task.load()
    assert options.data is not None, "one of both is given"
    place = _absolute(options.data)  # `datasets` cannot name "."
    name = check_task_name(options.task) if options.task else _name_of(place)
    columns: dict[str, Any] = {
        "image_columns": options.image_column,
        "text_columns": options.text_column and [column for column in options.text_column if column],
    }
    columns |= {key: getattr(options, key) for key in ("label_column", "choices_column", "problem_type")}
    _check_place(place)
    loaded = own_task(place, name, seed=seed, **columns)
    return OwnTask(loaded[0], place, seed), loaded


def _name_of(place: str) -> str:
    """A task's name, by default: that of its data. Raises a `ValueError` if it cannot be one."""
    name = Path(place).name
    try:
        return check_task_name(name.lower().replace(" ", "-"))
    except ValueError as error:
        raise ValueError(f"{error} The data are called {name!r}: give --task NAME.") from error


def _again(folder: Path, name: str) -> Loaded:
    path = spec_path(folder, name)
    refuse_links(path, folder)
    if not path.is_file():
        raise ValueError(
            f"{folder} holds the task '{name}', which was not learned from own data: there is no {path}. Give another "
            "folder."
        )
    return OwnTask.read(path).load()


def spec_path(folder: Path, name: str) -> Path:
    """Where a folder keeps what an own task is: beside the tasks, and not for the Hub, as it names a local place."""
    return folder / f"{name}.yaml"


def _check_place(place: str) -> None:
    """Data of the Hub can be had, or a `HubError` says so: `datasets` tries for minutes without a network."""
    check_is_there(place)
    if not Path(place).exists() and is_repository(place):
        check_data_set(place)


def _absolute(place: str) -> str:
    return str(Path(place).resolve()) if Path(place).is_dir() else place
