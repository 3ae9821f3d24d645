"""`atlas-hf learn --data`: a task of one's own; what it is stands as YAML in the output folder, and can be edited."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from datasets import DatasetDict

from atlas_hf import storage
from atlas_hf.own_data import own_task
from atlas_hf.tasks import TaskSpec, check_task_name

Loaded = tuple[TaskSpec, DatasetDict]


@dataclass
class OwnDataArguments:
    """Options of `atlas-hf learn` for a task of one's own."""

    data: str | None = field(
        default=None, metadata={"help": "Learn from a folder of images and CSV, or a data set on the Hub, instead."}
    )
    task: str | None = field(default=None, metadata={"help": "Its name; by default that of the data."})
    image_column: list[str] | None = field(default=None, metadata={"help": "By default every column of images."})
    text_column: list[str] | None = field(default=None, metadata={"help": "By default every column of strings."})
    label_column: str | None = field(default=None, metadata={"help": "By default 'label', or the only class column."})
    choices_column: str | None = field(default=None, metadata={"help": "Lists of strings to choose from."})
    problem_type: str | None = field(default=None, metadata={"help": "By default what the label looks like."})
    spec: str | None = field(default=None, metadata={"help": "YAML file that says what the task is, edited."})
    spec_only: bool = field(default=False, metadata={"help": "Show and write the YAML file, and learn nothing."})

    @property
    def given(self) -> bool:
        return bool(self.data or self.spec)


def own_tasks(options: OwnDataArguments, output: str, seed: int) -> list[Loaded]:
    """The own tasks that the folder holds, in their order, and the one that is asked for.

    Raises a `ValueError` for bad data, or a folder with a task that was not learned from own data.
    """
    folder = Path(output)
    done = list(storage.Index.load(folder).tasks) if (folder / storage.INDEX).is_file() else []
    loaded = _from_options(options, seed)
    spec, place = loaded[0][0], loaded[1]
    if spec.name in done and not options.spec_only:
        print(f"{folder} holds the task '{spec.name}' already; it is not learned again.")
    earlier = [_again(folder, name, seed) for name in done if name != spec.name]
    text = format_spec(spec, place)
    path = spec_path(folder, spec.name)
    print(f"{path}:\n{text}")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    position = done.index(spec.name) if spec.name in done else len(done)
    return [*earlier[:position], loaded[0], *earlier[position:]]


def _from_options(options: OwnDataArguments, seed: int) -> tuple[Loaded, str]:
    if options.spec:
        spec, place = read_spec(Path(options.spec))
        place = options.data or place
        return own_task(place, spec.name, spec=spec, seed=seed), place
    place = options.data or ""
    name = check_task_name(options.task or Path(place).name.lower().replace(" ", "-"))
    columns = {"image_columns": options.image_column, "text_columns": options.text_column}
    columns |= {key: getattr(options, key) for key in ("label_column", "choices_column", "problem_type")}
    return own_task(place, name, seed=seed, **columns), place


def _again(folder: Path, name: str, seed: int) -> Loaded:
    path = spec_path(folder, name)
    if not path.is_file():
        raise ValueError(
            f"{folder} holds the task '{name}', which was not learned from own data: there is no {path}. Give another "
            "folder."
        )
    spec, place = read_spec(path)
    return own_task(place, name, spec=spec, seed=seed)


def spec_path(folder: Path, name: str) -> Path:
    """Where a folder keeps what an own task is, beside the tasks (and not for the Hub: it names a local place)."""
    return folder / f"{name}.yaml"


def format_spec(spec: TaskSpec, place: str) -> str:
    """A `TaskSpec` and where its data are, as YAML; what is not set is left out."""
    values = {name: _plain(value) for name, value in spec.to_dict().items() if value not in (None, ())}
    return yaml.safe_dump({"data": _absolute(place)} | values, sort_keys=False, allow_unicode=True)


def read_spec(path: Path) -> tuple[TaskSpec, str]:
    """The reverse of `format_spec`; a `ValueError` says what is wrong with the file."""
    if not path.is_file():
        raise ValueError(f"There is no file {path}. Write it with --spec_only.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("data"), str):
        raise ValueError(f"{path} does not say where the data are; give a line `data: FOLDER or Hub id`.")
    return TaskSpec.from_dict({name: value for name, value in values.items() if name != "data"}), values["data"]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _absolute(place: str) -> str:
    return str(Path(place).resolve()) if Path(place).is_dir() else place
