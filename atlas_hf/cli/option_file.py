"""The YAML file of `atlas-hf learn`: its options, and a list of tasks."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from atlas_hf.cli.line_parser import meant

SUFFIXES = (".yaml", ".yml")


def take_file(parser: Any, argv: list[str]) -> tuple[list[str], list[Any]]:
    """The options of a line, those of the YAML file before it included, and the file's own tasks.

    Numbers and words of the file become options, which the parser checks; null, an empty list and {...} cannot, and
    become the parser's defaults. What the line itself says comes later, and so counts. Own tasks are the items of
    `tasks`, if one of them is a mapping (`atlas_hf.cli.asked`); words alone are tasks of a stream.

    Raises a `ValueError` if the file is not there, is no YAML, or has keys that are no options.
    """
    if not (argv and argv[0].endswith(SUFFIXES)):
        return argv, []
    values = read_yaml(Path(argv[0]), "Give a YAML file of options, or the options themselves.")
    if not isinstance(values, dict):
        raise ValueError(f"{argv[0]} holds no `option: value` lines.")
    values = {str(name).replace("-", "_"): value for name, value in values.items()}
    known = [one.name for group in parser.dataclass_types for one in fields(group)]
    check_keys(argv[0], values, known, "`atlas-hf learn --help-all` lists what is possible")
    own = values.get("tasks")
    if isinstance(own, list) and any(isinstance(task, dict) for task in own):
        del values["tasks"]
    else:
        own = []
    parser.set_defaults(**{name: value for name, value in values.items() if not _is_word(value)})
    return [*as_words(values), *argv[1:]], own


def as_words(values: Mapping[str, Any]) -> Iterator[str]:
    """`--name=value` ..., of the values that can be words."""
    for name, value in values.items():
        if isinstance(value, list) and value:
            yield from (f"--{name}", *map(str, value))
        elif _is_word(value):
            yield f"--{name}={value}"


def _is_word(value: Any) -> bool:
    return not (value is None or value == [] or isinstance(value, dict))


def check_keys(where: str, given: Mapping[str, Any], known: Collection[str], possible: str) -> None:
    """Raise a `ValueError`, with those that may be meant, for keys that are not known."""
    if unknown := [str(name) for name in given if name not in known]:
        raise ValueError(
            f"{where} has {', '.join(map(repr, unknown))}, which atlas-hf learn does not know; {possible}."
            f"{meant(unknown, known)}"
        )


def read_yaml(path: Path, remedy: str) -> Any:
    """What a file holds; a `ValueError`, with what to do, if it is not there or no YAML."""
    if not path.is_file():
        raise ValueError(f"There is no file {path}. {remedy}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
