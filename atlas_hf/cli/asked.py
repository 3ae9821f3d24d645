"""What a line of `atlas-hf learn`, or its file of tasks, asks for: the own tasks, as they are given.

Nothing is read here, and nothing imported that takes long.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from atlas_hf.cli.option_file import SUFFIXES, as_words, check_keys
from atlas_hf.tasks import check_task_name

KEYS = ("data", "name", "task", "columns", "problem_type", "settings")
# Of `columns`, `text`, `text_column` and `text_columns` are the same.
COLUMNS = {"image": "image_columns", "text": "text_columns", "label": "label_column", "choices": "choices_column"}


@dataclass(frozen=True)
class AskedTask:
    """An own task: where its data are, what of them it is (arguments of `infer_spec`), how it differs in training."""

    name: str
    data: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def asked_tasks(
    parser: Any, options: Namespace, words: Sequence[str], tasks: Sequence[Any], file: str
) -> list[AskedTask]:
    """The own tasks of a file, and those of the places of a line, in their order.

    Args:
        parser: of all options, for the values of settings.
        words: what of the line belongs to no option: places.
        tasks: the items of the list `tasks` of `file`.

    Raises a `ValueError` for keys, names or values that are wrong, and for two tasks of one name.
    """
    places = [*words, *(options.data or ())]
    if late := [place for place in places if place.endswith(SUFFIXES)]:
        raise ValueError(f"A YAML file comes first: atlas-hf learn {late[0]} ...")
    named = None if options.spec else options.task  # the file says its name
    names = named or [None] * len(places)
    if len(names) != len(places):
        raise ValueError(
            f"--task gives {len(names)} names, and there are {len(places)} places of data. Give a name for each."
        )
    columns: dict[str, Any] = {"image_columns": options.image_column, "text_columns": options.text_column}
    columns |= {name: getattr(options, name) for name in ("label_column", "choices_column", "problem_type")}
    columns = _without_blanks(columns)
    given = [_of_file(parser, task, file, columns) for task in tasks]
    given += [AskedTask(_name(name, place), place, columns) for name, place in zip(names, places, strict=True)]
    _check_names(given)
    return given


def _of_file(parser: Any, task: Any, file: str, columns: Mapping[str, Any]) -> AskedTask:
    """An item of the list of tasks, a place alone or a mapping; columns that it leaves open are those of the line."""
    task = {"data": task} if isinstance(task, str) else task
    if not isinstance(task, dict) or not isinstance(task.get("data"), str):
        raise ValueError(f"{file}: a task is {task!r}; give each a line `data: PLACE`.")
    where = f"{file}: the task of {task['data']}"
    check_keys(where, task, KEYS, f"possible are {', '.join(KEYS)}")
    parts = {name: task.get(name) or {} for name in ("columns", "settings")}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise ValueError(f"{where} has {name}: {part!r}; give lines `name: value` below it.")
    named = {str(key).removesuffix("s").removesuffix("_column"): value for key, value in parts["columns"].items()}
    named = {"choices" if name == "choice" else name: value for name, value in named.items()}
    check_keys(f"{where}, under columns,", named, COLUMNS, f"possible are {', '.join(COLUMNS)}")
    found = {COLUMNS[name]: value for name, value in named.items()} | {"problem_type": task.get("problem_type")}
    place = _beside(task["data"], Path(file).parent)
    name = _name(task.get("name") or task.get("task"), place)
    return AskedTask(name, place, {**columns, **_without_blanks(found)}, _settings(parser, where, parts["settings"]))


def _beside(place: str, folder: Path) -> str:
    """A place as on the command line; what is not there may be beside the file that names it."""
    return str(folder / place) if not Path(place).exists() and (folder / place).exists() else place


def _settings(parser: Any, where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the training arguments, and `r`, with values as the parser reads them: YAML's 5e-4 is a word."""
    values = {str(name).replace("-", "_"): value for name, value in given.items()}
    known = ["r", *(one.name for one in fields(parser.dataclass_types[-1]) if one.init)]
    check_keys(f"{where}, under settings,", values, known, "r and the fields of AtlasTrainingArguments are possible")
    read, _ = parser.parse_known_args(["--output=x", *as_words(values)])
    return {name: getattr(read, name) if list(as_words({name: value})) else value for name, value in values.items()}


def _without_blanks(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are given; several are a list, from which the word for none is left out."""
    given = {name: value for name, value in columns.items() if value is not None}
    for name in ("image_columns", "text_columns"):
        if name in given:
            several = [given[name]] if isinstance(given[name], str) else given[name]
            given[name] = [column for column in several if column]
    return given


def _name(name: str | None, place: str) -> str:
    """A task's name, by default that of its data, of a file without the end; a `ValueError` if it can be none."""
    if name is not None:
        return check_task_name(name)
    path = Path(place)
    if "," in place and all(Path(part.strip()).exists() for part in place.split(",")):
        raise ValueError(f"{place!r} is several places: separate them by spaces, not by commas.")
    called = path.resolve().name if path.is_dir() else path.stem
    try:
        return check_task_name(called.lower().replace(" ", "-"))
    except ValueError as error:
        raise ValueError(f"{error} The data are called {called!r}: give --task NAME.") from error


def _check_names(tasks: Sequence[AskedTask]) -> None:
    places: dict[str, str] = {}
    for task in tasks:
        if task.name in places:
            raise ValueError(
                f"{places[task.name]} and {task.data} both give the task name '{task.name}'. Name the tasks, in their "
                "order: --task NAME NAME ..., or `name:` in a file of tasks."
            )
        places[task.name] = task.data
