"""The options of `atlas-hf learn`, and its YAML file."""

# ruff: noqa: RUF009 (`_option` returns a `field`)

import re
from argparse import Namespace, RawDescriptionHelpFormatter
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml

from atlas_hf.cli.commands import COMMANDS, STREAMS
from atlas_hf.cli.training_options import hf_argument_parser

HELP = """Example:
  atlas-hf learn --stream digits --order mono-first --output runs/digits
  atlas-hf learn --stream digits --smoke --output runs/smoke
  atlas-hf learn --stream climb --order mono-first --low-shot 2048 --output runs/climb
  atlas-hf learn --data pets/ --image-column photo --label-column animal --backbone BACKBONE --output runs/pets
  atlas-hf learn run.yaml                      (the same options, as YAML)

Run again with the same folder, it goes on with the next task. The options that are not about the stream are
those of AtlasConfig and transformers' TrainingArguments; their defaults here are the stream's own."""


def _option(text: str, default: Any = None) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class LearnArguments:
    """Options of `atlas-hf learn` beside the training arguments."""

    output: str = field(metadata={"help": "Folder for the tasks, results.json and the plots."})
    stream: str = _option(f"One of: {', '.join(STREAMS)}.", "digits")
    order: str | None = _option("Of its upstream tasks; by default the stream's first.")
    tasks: list[str] | None = _option("Only these upstream tasks.")
    downstream: bool = _option("Learn the downstream tasks too, each on its own.", False)
    downstream_tasks: list[str] | None = _option("Only these of them, or others.")
    sources: list[str] | None = _option("TASK=PLACE: read a task of the Hub from another data set or folder.")
    backbone: str | None = _option("Folder or Hub id; by default the stream's own.")
    max_experience: int | None = _option("Reuse so many earlier tasks at most, those that suit best; by default all.")
    independent: bool = _option("Learn every task alone, without reuse, to compare.", False)
    train_size: int | None = _option("Training examples per task.")
    low_shot: int | None = _option("Learn from so many examples, drawn by seed.")
    stream_seed: int = _option("Seed of the data; --seed is that of training.", 0)
    threads: int | None = _option("CPU threads; by default the stream's own.")
    push_to: str | None = _option("Push each finished task to this Hub repository.")
    smoke: bool = _option("Everything at tiny sizes, in seconds; learns little.", False)


@dataclass
class OwnDataArguments:
    """Options of `atlas-hf learn` for a task of one's own."""

    data: str | None = _option("Learn from a folder of images and CSV, or a data set on the Hub, instead.")
    task: str | None = _option("Its name; by default that of the data.")
    image_column: list[str] | None = _option("By default every column of images.")
    text_column: list[str] | None = _option(
        "By default the only one of texts (no ids, no other spelling of the label); '' for none."
    )
    label_column: str | None = _option("By default 'label', or the only class column.")
    choices_column: str | None = _option("Lists of strings to choose from.")
    problem_type: str | None = _option("By default what the label looks like.")
    spec: str | None = _option("YAML file that says what the task is, edited.")
    spec_only: bool = _option("Show and write the YAML file, and learn nothing.", False)


@dataclass
class AdapterArguments:
    """The fields of `AtlasConfig` that a user chooses, each None unless given."""

    r: int | None = _option("Width of the bottleneck.")
    target_modules: list[str] | None = _option("Names or regex of the sites.")
    exclude_modules: list[str] | None = _option("Names or regex to leave out.")
    layers_to_transform: list[int] | None = _option("Layer indices to adapt.")
    layers_pattern: list[str] | None = _option("Name of the list of layers.")
    num_heads: int | None = _option("Heads of the pooling attention.")
    variant: Literal["paper", "reference"] | None = _option("One of ('paper', 'reference').")
    weighting: Literal["adapter", "channel"] | None = _option("One of ('adapter', 'channel').")
    num_queries: int | None = _option("Rows of each query and key.")
    token_weight: Literal["each", "shared"] | None = _option("One of ('each', 'shared').")
    init_queries: Literal["screened", "opposed", "normal"] | None = _option(
        "One of ('screened', 'opposed', 'normal')."
    )
    pooling: Literal["pooler", "joined", "cls", "mean"] | None = _option("One of ('pooler', 'joined', 'cls', 'mean').")
    init_weights: bool | None = _option("Start the up projection at zero.")


def adapter_settings(options: AdapterArguments | Namespace) -> dict[str, Any]:
    """The arguments of `AtlasConfig` that were given; one word that cannot be a module's name is a regex."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    for name in ("target_modules", "exclude_modules"):
        words = given.get(name, [])
        if len(words) == 1 and not re.fullmatch(r"[\w.]+", words[0]):
            given[name] = words[0]
    return given


def learn_parser(training: type) -> Any:
    """The `HfArgumentParser` of transformers, with all options.

    `training` is `AtlasTrainingArguments`, or `training_options()`: the same options without importing torch, to show
    help and to check a line with.
    """
    return hf_argument_parser()(
        (LearnArguments, OwnDataArguments, AdapterArguments, training),
        prog="atlas-hf learn",
        usage="atlas-hf learn [FILE.yaml] [--option value ...]    (all options: atlas-hf learn --help)",
        description=f"{COMMANDS['learn']}\n\n{HELP}",
        formatter_class=RawDescriptionHelpFormatter,
    )


def take_file(parser: Any, argv: list[str]) -> list[str]:
    """The options of a line, those of the YAML file before it included.

    Numbers and words of the file become options, which the parser checks; null, an empty list and {...} cannot, and
    become the parser's defaults. What the line itself says comes later, and so counts.

    Raises a `ValueError` if the file is not there, is no YAML, or has keys that are no options.
    """
    if not (argv and argv[0].endswith((".yaml", ".yml"))):
        return argv
    lines = read_yaml(Path(argv[0]), "Give a YAML file of options, or the options themselves.")
    if not isinstance(lines, dict):
        raise ValueError(f"{argv[0]} holds no `option: value` lines.")
    values = {str(name).replace("-", "_"): value for name, value in lines.items()}
    known = {one.name for group in parser.dataclass_types for one in fields(group)}
    if unknown := [name for name in values if name not in known]:
        meant = [close for name in unknown for close in get_close_matches(name, known, n=1)]
        raise ValueError(
            f"{argv[0]} has {', '.join(map(repr, unknown))}, no option of atlas-hf learn; `atlas-hf learn --help` "
            "lists them." + (f" Did you mean {', '.join(meant)}?" if meant else "")
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


def read_yaml(path: Path, remedy: str) -> Any:
    """What a file holds; a `ValueError`, with what to do, if it is not there or no YAML."""
    if not path.is_file():
        raise ValueError(f"There is no file {path}. {remedy}")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
