"""`atlas-hf learn PLACE ...`: tasks of one's own; what they are stands as YAML in the output folder, to be edited."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from datasets import DatasetDict

from atlas_hf.cli.asked import AskedTask
from atlas_hf.cli.option_file import read_yaml
from atlas_hf.data.own_data import own_task
from atlas_hf.data.reading import check_place
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
from atlas_hf.tasks import TaskSpec

Loaded = tuple[TaskSpec, DatasetDict]
SPEC_LIMIT = 2**19  # bytes; YAML takes long to read, and this much names 20,000 classes


@dataclass(frozen=True)
class OwnTask:
    """An own task, to be read again: `data` is a file, folder or Hub id, `seed` that of the rows held out."""

    spec: TaskSpec
    data: str
    seed: int = 0

    def load(self) -> Loaded:
        """The task with its data, checked as `own_task` checks them."""
        check_there(self.data)
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
            raise ValueError(f"{path} does not say where the data are; give a line `data: FILE, FOLDER or Hub id`.")
        place, seed = values.pop("data"), values.pop("seed", 0)
        return cls(TaskSpec.from_dict(values), place, seed)


def own_tasks(asked: Sequence[AskedTask], spec: str | None, output: str, seed: int, spec_only: bool) -> list[Loaded]:
    """The own tasks that the folder holds, in their order, and those that are asked for, which are shown and written.

    All are read before anything is written.

    Args:
        spec: a file that says what the only one that is asked for is.
        seed: of the rows that are held out.
        spec_only: give only what is asked for.

    Raises a `ValueError` for bad data, or a folder with a task that was not learned from own data.
    """
    folder = Path(output)
    with saying_that_nothing_was_learned(folder):
        done = list(Index.load(folder).tasks) if (folder / INDEX).is_file() else []
    if spec:
        loaded = {task.spec.name: (task, task.load()) for task in [_of_spec(spec, asked)]}
    else:
        loaded = {task.name: _read(task, seed, alone=len(asked) == 1) for task in asked}
    tasks = {name: task for name, (task, _) in loaded.items()}
    if not done:
        for task in tasks.values():
            _check_apart(folder, Path(task.data))
    _show_and_write(folder, tasks, done, spec, spec_only)
    if spec_only:
        return [data for _, data in loaded.values()]
    earlier = {name: _again(folder, name) for name in done if name not in loaded}
    return [earlier[name] if name in earlier else loaded[name][1] for name in dict.fromkeys([*done, *loaded])]


def _show_and_write(
    folder: Path, tasks: dict[str, OwnTask], done: Sequence[str], spec: str | None, spec_only: bool
) -> None:
    """Of each task what it is; written unless it is learned already, or is what `spec`, its own file, says."""
    for name, task in tasks.items():
        path = spec_path(folder, name)
        print(f"{path}:\n{task.to_yaml()}" if spec_only else f"{_in_a_line(task)}  ({path})", flush=True)
        if name not in done and not (spec and Path(spec).resolve() == path.resolve()):
            with saying_that_nothing_was_learned(folder):
                _write(task, path, [] if spec_only else list(dict.fromkeys([*done, *tasks])))


def _in_a_line(task: OwnTask) -> str:
    spec = task.spec
    inputs = [*spec.image_columns, *spec.text_columns, *filter(None, (spec.choices_column, spec.audio_column))]
    names = ", ".join(spec.label_names[:5]) + (" ..." if len(spec.label_names) > 5 else "") if spec.label_names else ""
    learned = f"'{spec.label_column}'" + (f" ({len(spec.label_names)} classes: {names})" if spec.label_names else "")
    return f"{spec.name}: reads {', '.join(map(repr, inputs))}, learns {learned}, from {task.data}"


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


def _of_spec(spec: str, asked: Sequence[AskedTask]) -> OwnTask:
    """What the file says, with its data from elsewhere if a place is given."""
    if len(asked) > 1:
        raise ValueError(f"--spec says what one task is, and there are {len(asked)} places of data. Give one of them.")
    task = OwnTask.read(Path(spec))
    return replace(task, data=_absolute(asked[0].data if asked else task.data))


def _read(asked: AskedTask, seed: int, alone: bool) -> tuple[OwnTask, Loaded]:
    """A task, and its data; what is wrong with them is said with their place if they are not alone."""
    place = _absolute(asked.data)  # `datasets` cannot name "."
    check_there(place)
    try:
        loaded = own_task(place, asked.name, seed=seed, **asked.columns)
    except ValueError as error:
        if alone or asked.data in str(error):
            raise
        more = " (A file of tasks names each one's own columns.)" if "column" in str(error) else ""
        raise ValueError(f"{asked.data}: {error}{more}") from error
    return OwnTask(loaded[0], place, seed), loaded


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


def check_there(place: str) -> None:
    """Raise a `ValueError` for a file that is not there or no table, a `HubError` for data that cannot be had.

    What is here is never looked for on the Hub; without a network, `datasets` would try for minutes.
    """
    check_place(place)
    check_is_there(place)
    if not Path(place).exists() and is_repository(place):
        check_data_set(place)


def _absolute(place: str) -> str:
    return str(Path(place).resolve()) if Path(place).exists() else place
