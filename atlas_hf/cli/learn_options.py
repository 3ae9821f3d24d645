"""The options of `atlas-hf learn`, and its YAML file."""

from __future__ import annotations

import re
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from atlas_hf.cli.choices import streams
from atlas_hf.cli.commands import COMMANDS
from atlas_hf.cli.source import hf_argument_parser, source

HELP = """Example:
  atlas-hf learn --stream digits --order mono-first --output runs/digits
  atlas-hf learn --stream digits --smoke --output runs/smoke
  atlas-hf learn --stream climb --order mono-first --low-shot 2048 --output runs/climb
  atlas-hf learn --data pets/ --image-column photo --label-column animal --backbone BACKBONE --output runs/pets
  atlas-hf learn run.yaml                      (the same options, as YAML)

Run again with the same folder, it goes on with the next task. The options that are not about the stream are
those of AtlasConfig and transformers' TrainingArguments; their defaults here are the stream's own."""

NOT_OPTIONS = {"experience", "experience_sha256", "stage", "head", "spec"}  # of `AtlasConfig`: what learning decides
CHOICES = {"variant": "VARIANTS", "weighting": "WEIGHTINGS", "init_queries": "QUERY_INITS", "pooling": "POOLINGS"}
SITES = ("target_modules", "exclude_modules")
NAME = re.compile(r"[\w.]+")  # of a module; anything else is a regex


@dataclass
class LearnArguments:
    """Options of `atlas-hf learn` beside the training arguments."""

    output: str = field(metadata={"help": "Folder for the tasks, results.json and the plots."})
    stream: str = field(default="digits", metadata={"help": f"One of: {', '.join(streams())}."})
    order: str = field(default="multi-first", metadata={"help": "multi-first or mono-first."})
    tasks: list[str] | None = field(default=None, metadata={"help": "Only these upstream tasks."})
    downstream: bool = field(default=False, metadata={"help": "Learn the downstream tasks too, each on its own."})
    downstream_tasks: list[str] | None = field(default=None, metadata={"help": "Only these of them, or others."})
    sources: list[str] | None = field(
        default=None, metadata={"help": "TASK=PLACE: read a task of the Hub from another data set or folder."}
    )
    backbone: str | None = field(default=None, metadata={"help": "Folder or Hub id; by default the stream's own."})
    max_experience: int | None = field(
        default=None, metadata={"help": "Reuse so many earlier tasks at most, those that suit best; by default all."}
    )
    independent: bool = field(default=False, metadata={"help": "Learn every task alone, without reuse, to compare."})
    train_size: int | None = field(default=None, metadata={"help": "Training examples per task."})
    low_shot: int | None = field(default=None, metadata={"help": "Learn from so many examples, drawn by seed."})
    stream_seed: int = field(default=0, metadata={"help": "Seed of the data; --seed is that of training."})
    threads: int | None = field(default=None, metadata={"help": "CPU threads; by default the stream's own."})
    push_to: str | None = field(default=None, metadata={"help": "Push each finished task to this Hub repository."})
    smoke: bool = field(default=False, metadata={"help": "Everything at tiny sizes, in seconds; learns little."})


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


@cache
def adapter_arguments() -> type:
    """The fields of `AtlasConfig` that a user chooses, each None unless given."""
    config = source("atlas_hf.tuner.config")
    options: list[tuple[str, Any, Any]] = []
    for one in fields(config["AtlasConfig"]):
        choices = {"choices": list(config[CHOICES[one.name]])} if one.name in CHOICES else {}
        if one.name not in NOT_OPTIONS:
            options.append(
                (one.name, _option_type(one.type), field(default=None, metadata={**one.metadata, **choices}))
            )
    return make_dataclass("AdapterArguments", options)


def _option_type(kind: Any) -> Any:
    """`list[int] | int | None` is a list on a command line, where one is a list too."""
    lists = [one for one in get_args(kind) if get_origin(one) is list]
    return (lists[0] if lists else kind) | None


def adapter_settings(options: Any) -> dict[str, Any]:
    """The arguments of `AtlasConfig` that were given; one word that cannot be a module's name is a regex."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    for name in SITES:
        words = given.get(name, [])
        if len(words) == 1 and not NAME.fullmatch(words[0]):
            given[name] = words[0]
    return given


def learn_parser(training: type) -> Any:
    """The `HfArgumentParser` of transformers, with all options.

    Args:
        training: `AtlasTrainingArguments`, or what `source` reads of it, which has the same options.
    """
    return hf_argument_parser()(
        (LearnArguments, OwnDataArguments, adapter_arguments(), training),
        prog="atlas-hf learn",
        usage="atlas-hf learn [FILE.yaml] [--option value ...]    (all options: atlas-hf learn --help)",
        description=f"{COMMANDS['learn']}\n\n{HELP}",
        formatter_class=RawDescriptionHelpFormatter,
    )


def light_parser() -> Any:
    """The same parser, made without importing torch or transformers, to show help and check a line with."""
    return learn_parser(source("atlas_hf.training.arguments")["AtlasTrainingArguments"])


def take_file(parser: Any, argv: Sequence[str]) -> list[str]:
    """The options of a line, those of the YAML file before it included.

    Numbers and words of the file become options, which the parser checks; null, an empty list and {...} cannot, and
    become the parser's defaults. What the line itself says comes later, and so counts.

    Raises:
        ValueError: the file is not there, no YAML, or has keys that are no options.
    """
    if not (argv and argv[0].endswith((".yaml", ".yml"))):
        return list(argv)
    values = _read(Path(argv[0]))
    known = {one.name for group in parser.dataclass_types for one in fields(group)}
    if unknown := [name for name in values if name not in known]:
        raise ValueError(
            f"{argv[0]} has {', '.join(map(repr, unknown))}, no option of atlas-hf learn; `atlas-hf learn --help` "
            "lists them."
        )
    options = []
    for name, value in values.items():
        if value is None or value == [] or isinstance(value, dict):
            parser.set_defaults(**{name: value})
        elif isinstance(value, list):
            options += [f"--{name}", *map(str, value)]
        else:
            options += [f"--{name}={value}"]
    return [*options, *argv[1:]]


def _read(path: Path) -> dict[str, Any]:
    """A YAML file's values by the names of the fields."""
    if not path.is_file():
        raise ValueError(f"There is no file {path}. Give a YAML file of options, or the options themselves.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no `option: value` lines.")
    return {str(name).replace("-", "_"): value for name, value in values.items()}
