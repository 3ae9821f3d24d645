"""The options of `atlas-hf learn`, in groups, and their help."""

# ruff: noqa: RUF009 (`_option` returns a `field`)

import re
from argparse import SUPPRESS, Action, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal

from atlas_hf.cli.commands import COMMANDS, STREAMS
from atlas_hf.cli.line_parser import OneLine
from atlas_hf.cli.training_options import hf_argument_parser

STREAM = next(iter(STREAMS))  # of a line that names neither a stream nor own data
EXAMPLES = """Example:
  atlas-hf learn movies.csv amazon.csv tweets.csv --backbone PATH --output runs/mine
  atlas-hf learn pets/ --image-column photo --label-column animal --backbone PATH --output runs/pets
  atlas-hf learn tasks.yaml                    (tasks, with columns and settings of their own)
  atlas-hf learn --stream digits --order mono-first --output runs/digits
  atlas-hf learn run.yaml                      (the options, as YAML)

Run again with the same folder, it goes on with the next task.

A file of tasks:
  backbone: PATH
  output: runs/mine
  tasks:
    - data: movies.csv
    - data: amazon.csv
      name: products
      columns: {text: review, label: stars}
    - data: tweets.csv
      settings: {num_train_epochs: 30, learning_rate: 1e-3}"""
FURTHER = """Every field of transformers' TrainingArguments (--learning-rate, --num-train-epochs, --max-steps ...)
and of AtlasConfig (--r, --target-modules, --pooling ...) is an option, too: atlas-hf learn --help-all"""
USAGE = "atlas-hf learn [FILE.yaml] [PLACE ...] [--option value ...]"


def _option(text: str, default: Any = None, shown: str = "", metavar: str | None = None) -> Any:
    """A field with its help; `shown` is the default in words, where the value itself says nothing."""
    known = {} if metavar is None else {"metavar": metavar}
    shown = shown or ("none" if default is None else "no" if default is False else str(default))
    return field(default=default, metadata=known | {"help": f"{text} (default: {shown})"})


@dataclass
class OwnDataArguments:
    """What tasks of one's own are learned from."""

    _argument_group_name = (
        "your own data: a CSV, TSV, JSON lines or Parquet file, a folder, or a Hub data set per task"
    )

    data: list[str] | None = _option("the places, if not before the options", metavar="PLACE")
    task: list[str] | None = _option("names of the tasks, one per place", shown="those of the places", metavar="NAME")
    image_column: list[str] | None = _option("columns to read", shown="every column of images", metavar="COLUMN")
    text_column: list[str] | None = _option(
        "columns to read, '' for none", shown="the only one of texts that is no id or label", metavar="COLUMN"
    )
    label_column: str | None = _option(
        "column to learn", shown="'label', or the only column of classes", metavar="COLUMN"
    )
    choices_column: str | None = _option("lists of strings to choose from", metavar="COLUMN")
    problem_type: str | None = _option("kind of answer", shown="what the label looks like", metavar="TYPE")
    spec: str | None = _option("YAML file that says what the task is, edited", metavar="FILE")
    spec_only: bool = _option("show and write the YAML files, and learn nothing", False)


@dataclass
class StreamArguments:
    """Which tasks of a built-in stream are learned."""

    _argument_group_name = "a built-in stream"

    stream: str | None = _option(f"one of {', '.join(STREAMS)}", shown=STREAM, metavar="NAME")
    order: str | None = _option("of its upstream tasks", shown="the stream's first")
    tasks: list[str] | None = _option("only these upstream tasks", shown="all", metavar="TASK")
    downstream: bool = _option("learn the downstream tasks too, each on its own", False)
    downstream_tasks: list[str] | None = _option("only these of them, or others", metavar="TASK")
    sources: list[str] | None = _option("where the data are, if elsewhere", shown="the Hub", metavar="TASK=PLACE")
    train_size: int | None = _option("training examples per task", shown="the stream's own", metavar="N")
    low_shot: int | None = _option("learn from so many examples, drawn by seed", shown="all", metavar="N")
    stream_seed: int = _option("seed of the data, your own included (--seed is training's)", 0, metavar="N")
    smoke: bool = _option("everything at tiny sizes, in seconds; learns little", False)


@dataclass
class BackboneArguments:
    """What reads the inputs."""

    _argument_group_name = "backbone"

    backbone: str | None = _option(
        "folder or Hub id of a pretrained encoder", shown="the one that the output folder knows, or the stream's own",
        metavar="PATH",
    )  # fmt: skip


@dataclass
class LearningArguments:
    """How tasks are learned, beside the training arguments."""

    _argument_group_name = "learning"

    max_experience: int | None = _option("reuse so many earlier tasks at most", shown="all that help", metavar="N")
    independent: bool = _option("learn every task alone, without reuse, to compare", False)
    compare_alone: bool | None = _option(
        "learn each task that reuses others alone, too, and say what reuse gave", shown="where that costs little"
    )
    threads: int | None = _option("CPU threads", shown="the stream's own, or torch's", metavar="N")


@dataclass
class OutputArguments:
    """Where the results go."""

    _argument_group_name = "output"

    output: str = field(
        metadata={"help": "folder for the tasks, results.json and the plots (needed)", "metavar": "FOLDER"}
    )
    push_to: str | None = _option("push each finished task to this Hub repository", metavar="REPO")


@dataclass
class AdapterArguments:
    """The fields of `AtlasConfig` that a user chooses, each None unless given."""

    _argument_group_name = "the adapters: AtlasConfig"

    r: int | None = field(default=None, metadata={"help": "Width of the bottleneck."})
    target_modules: list[str] | None = field(default=None, metadata={"help": "Names or regex of the sites."})
    exclude_modules: list[str] | None = field(default=None, metadata={"help": "Names or regex to leave out."})
    layers_to_transform: list[int] | None = field(default=None, metadata={"help": "Layer indices to adapt."})
    layers_pattern: list[str] | None = field(default=None, metadata={"help": "Name of the list of layers."})
    num_heads: int | None = field(default=None, metadata={"help": "Heads of the pooling attention."})
    variant: Literal["paper", "reference"] | None = field(
        default=None, metadata={"help": "One of ('paper', 'reference')."}
    )
    weighting: Literal["adapter", "channel"] | None = field(
        default=None, metadata={"help": "One of ('adapter', 'channel')."}
    )
    num_queries: int | None = field(default=None, metadata={"help": "Rows of each query and key."})
    token_weight: Literal["each", "shared"] | None = field(
        default=None, metadata={"help": "One of ('each', 'shared')."}
    )
    init_queries: Literal["screened", "opposed", "normal"] | None = field(
        default=None, metadata={"help": "One of ('screened', 'opposed', 'normal')."}
    )
    pooling: Literal["pooler", "joined", "cls", "mean"] | None = field(
        default=None, metadata={"help": "One of ('pooler', 'joined', 'cls', 'mean')."}
    )
    head_width: int | None = field(default=None, metadata={"help": "Units of the hidden layer of a head."})
    init_weights: bool | None = field(default=None, metadata={"help": "Start the up projection at zero."})


GROUPS = (OwnDataArguments, StreamArguments, BackboneArguments, LearningArguments, OutputArguments)


def adapter_settings(options: AdapterArguments | Namespace) -> dict[str, Any]:
    """The arguments of `AtlasConfig` that were given; one word that cannot be a module's name is a regex."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    for name in ("target_modules", "exclude_modules"):
        words = given.get(name, [])
        if len(words) == 1 and not re.fullmatch(r"[\w.]+", words[0]):
            given[name] = words[0]
    return given


class _ShortHelp(Action):
    def __call__(self, parser: ArgumentParser, *_: Any, **__: Any) -> None:
        print(short_help(), end="")
        parser.exit()


def learn_parser(training: type) -> Any:
    """The `HfArgumentParser` of transformers, with all options; words that are none of them are places of data.

    `training` is `AtlasTrainingArguments`, or `training_options()`: the same options without importing torch, to show
    help and to check a line with.
    """
    kind: Any = type("LearnParser", (OneLine, hf_argument_parser()), {})
    parser = kind(
        (*GROUPS, AdapterArguments, training),
        prog="atlas-hf learn",
        usage=USAGE,
        description=_about(),
        formatter_class=RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action=_ShortHelp, nargs=0, default=SUPPRESS, help="our own options alone")
    parser.add_argument("--help-all", action="help", help="this")
    parser.put_last("training: transformers' TrainingArguments, and ours")
    return parser


def _about() -> str:
    return f"{COMMANDS['learn']}\n\n{EXAMPLES}"


def short_help() -> str:
    """Our own options alone, each with its default: two screens."""
    layout: Any = partial(RawDescriptionHelpFormatter, max_help_position=32, width=119)
    shown = ArgumentParser(usage=USAGE, description=_about(), epilog=FURTHER, formatter_class=layout, add_help=False)
    for group in GROUPS:
        box = shown.add_argument_group(group._argument_group_name)  # noqa: SLF001  # transformers' word
        for one in fields(group):
            flag = {"action": "store_true"} if one.type is bool else {"metavar": one.name.upper()}
            several: dict[str, Any] = {"nargs": "+"} if "list" in str(one.type) else {}
            box.add_argument(f"--{one.name.replace('_', '-')}", **flag | several | dict(one.metadata))
    return shown.format_help()
