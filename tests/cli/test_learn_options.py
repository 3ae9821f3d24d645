"""The options of `atlas-hf learn`: the same without torch as with it, and the same as lines of YAML."""

import argparse
import dataclasses

import pytest

from atlas_hf import AtlasConfig, AtlasTrainingArguments
from atlas_hf.cli.learn_options import AdapterArguments, adapter_settings, learn_parser
from atlas_hf.cli.option_file import take_file
from atlas_hf.cli.training_options import training_options
from atlas_hf.fusion import TOKEN_WEIGHTS, VARIANTS, WEIGHTINGS
from atlas_hf.tuner.config import POOLINGS, QUERY_INITS

NOT_KNOWN = {"parallelism_config"}  # a class of accelerate; a word of a command line is neither


OTHER = """
class Kind(ExplicitEnum):
    ONE = "one"
    TWO = "two"

@dataclass
class TrainingArguments:
    kind: Kind | str = field(default="one", metadata={"help": "Which."})
    device: torch.device | None = field(default="cpu", metadata={"help": "Where."})
    gpu: bool = field(default_factory=torch.cuda.is_available, metadata={"help": "On.", "x": torch.e})
    words: list[int] = field(default_factory=list, metadata={"help": f"One of {WORDS}."})
    plain: int = 3
"""


def light_parser():
    return learn_parser(training_options())


def about(action):
    """What decides how an option is read, and what help shows of it; a default is that of the dataclass."""
    kind = getattr(action.type, "__qualname__", action.type) if action.dest not in NOT_KNOWN else None
    choices = action.choices and list(action.choices)
    shown = (action.help, action.metavar, action.required, action.nargs, action.const)
    return tuple(action.option_strings), action.dest, type(action), kind, choices, shown


def test_the_light_parser_is_the_real_one():
    light, real = light_parser(), learn_parser(AtlasTrainingArguments)
    assert [about(action) for action in light._actions] == [about(action) for action in real._actions]
    assert light.format_help() == real.format_help()
    assert sum(action.choices is not None for action in light._actions) > 12


def test_defaults_of_the_class_that_stand_in_its_file_are_read():
    read, there = (
        {one.name: one for one in dataclasses.fields(of)} for of in (training_options(), AtlasTrainingArguments)
    )
    assert list(read) == list(there)
    literal = {name for name, one in there.items() if one.default is not dataclasses.MISSING} - {"optim"}
    assert {name: read[name].default for name in literal} == {name: there[name].default for name in literal}


def test_what_only_importing_would_tell_takes_any_word_and_is_left_open(tmp_path, monkeypatch):
    path = tmp_path / "arguments.py"
    path.write_text(OTHER)
    monkeypatch.setattr("atlas_hf.cli.training_options._of_transformers", lambda module: path)
    fields = {one.name: one for one in dataclasses.fields(training_options())}
    kind, device, gpu, words, plain = (fields[name] for name in ("kind", "device", "gpu", "words", "plain"))
    assert [one.value for one in kind.type.__args__[0]] == ["one", "two"] and kind.default == "one"
    assert device.type == str | None and device.default == "cpu"
    assert gpu.type is bool and gpu.default is None and gpu.metadata == {"help": "On.", "x": None}
    assert words.type == list[int] and words.metadata == {"help": None}
    assert plain.type is int and plain.default is None


def test_the_options_of_the_adapters_are_those_of_the_config():
    decided = {"experience", "experience_sha256", "stage", "own_adapter", "head", "modules_to_save"}
    own = {one.name: one for one in dataclasses.fields(AtlasConfig) if "help" in one.metadata and one.init}
    options = {one.name: one for one in dataclasses.fields(AdapterArguments)}
    assert set(own) & set(AtlasConfig.__annotations__) - decided == set(options)
    assert {name: one.metadata for name, one in options.items()} == {name: own[name].metadata for name in options}
    choices = {action.dest: action.choices for action in light_parser()._actions}
    possible = {"variant": VARIANTS, "weighting": WEIGHTINGS, "init_queries": QUERY_INITS, "pooling": POOLINGS}
    possible["token_weight"] = TOKEN_WEIGHTS
    assert {name: list(choices[name]) for name in possible} == {name: list(names) for name, names in possible.items()}


def read(argv):
    parser = learn_parser(AtlasTrainingArguments)
    return parser.parse_args(take_file(parser, argv)[0])


def yaml_line(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text)
    return str(tmp_path / "run.yaml")


def test_values_of_yaml_are_those_of_the_options(tmp_path):
    path = yaml_line(
        tmp_path,
        """
output: out
tasks: [vqa, text-choice]
downstream_tasks: nlvr2
smoke: true
learning-rate: 5e-4
num_train_epochs: 3
eval_strategy: steps
lr_scheduler_kwargs: {min_lr: 0.5}
""",
    )
    line = ["--output", "out", "--tasks", "vqa", "text-choice", "--downstream_tasks", "nlvr2", "--smoke"]
    line += ["--learning-rate", "5e-4", "--num_train_epochs", "3", "--eval_strategy", "steps"]
    options = read([path])
    assert vars(options) == vars(read(line)) | {"lr_scheduler_kwargs": {"min_lr": 0.5}}
    assert options.learning_rate == 5e-4 and isinstance(options.num_train_epochs, float)


def test_null_is_none_and_an_empty_list_stays_one(tmp_path):
    path = yaml_line(tmp_path, "output: x\nbackbone: null\nsave_total_limit: ~\ntasks: []\n")
    options = read([path])
    assert (options.backbone, options.save_total_limit, options.tasks) == (None, None, [])
    assert read(["--output", "x"]).save_total_limit == 1


def test_what_the_line_says_counts(tmp_path):
    path = yaml_line(tmp_path, "output: x\nsave_total_limit: null\ntasks: [vqa]\nsmoke: true\n")
    options = read([path, "--output", "y", "--save_total_limit", "3", "--tasks", "a", "b", "--smoke", "false"])
    assert (options.output, options.save_total_limit, options.tasks, options.smoke) == ("y", 3, ["a", "b"], False)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "nonsense: 1\noutput: x\n",
            "'nonsense', which atlas-hf learn does not know; `atlas-hf learn --help-all` lists",
        ),
        ("learning_rat: 1\noutptu: x\n", "lists what is possible. Did you mean learning_rate, output?"),
        ("[", "run.yaml is no YAML: "),
        ("", "run.yaml holds no `option: value` lines"),
        ("- output\n", "run.yaml holds no `option: value` lines"),
    ],
)
def test_a_file_that_says_nothing_of_use(tmp_path, text, error):
    with pytest.raises(ValueError, match=error):
        take_file(light_parser(), [yaml_line(tmp_path, text)])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("train_size: many\noutput: x\n", "argument --train_size/--train-size: invalid int value: 'many'"),
        ("stream: [digits, climb]\noutput: x\n", "unrecognized arguments: climb"),
        ("output: null\n", "the following arguments are required: --output"),
        ("variant: mine\noutput: x\n", "argument --variant: invalid choice: 'mine'"),
    ],
)
def test_wrong_values_of_a_file(tmp_path, text, error, capsys):
    with pytest.raises(SystemExit, match="2"):
        read([yaml_line(tmp_path, text)])
    assert error in capsys.readouterr().err


def test_a_file_and_the_files_options(tmp_path):
    assert take_file(light_parser(), ["--output", "run.yaml"]) == (["--output", "run.yaml"], [])
    with pytest.raises(ValueError, match="There is no file none.yaml. Give a YAML file of options, or the options"):
        take_file(light_parser(), ["none.yaml"])


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ([], {}),
        (["--r", "4", "--init-weights", "false"], {"r": 4, "init_weights": False}),
        (["--target_modules", "query"], {"target_modules": ["query"]}),
        (["--target_modules", r".*\.query"], {"target_modules": r".*\.query"}),
        (["--exclude_modules", "a.b", "c"], {"exclude_modules": ["a.b", "c"]}),
        (["--layers_to_transform", "0", "2"], {"layers_to_transform": [0, 2]}),
        (["--pooling", "cls", "--num-heads", "2"], {"pooling": "cls", "num_heads": 2}),
    ],
)
def test_settings_of_the_adapters(line, settings):
    names = ["r", "target_modules", "exclude_modules", "layers_to_transform", "init_weights", "pooling", "num_heads"]
    options = vars(read(["--output", "x", *line]))
    assert adapter_settings(argparse.Namespace(**{name: options[name] for name in names})) == settings
    AtlasConfig(**settings)
