"""The command itself: help, what it says to wrong arguments, and what it imports for that."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from atlas_hf import streams
from atlas_hf.benchmark.methods import METHODS
from atlas_hf.benchmark.speed import arguments, ways
from atlas_hf.cli import COMMANDS, benchmark, main
from atlas_hf.cli.commands import STREAMS, check_names

HEAVY = ["torch", "transformers", "peft", "datasets", "gradio", "huggingface_hub", "numpy", "matplotlib", "evaluate"]
WRONG = [
    ["nothing"],
    *([command, "--nonsense"] for command in COMMANDS),
    ["learn"],
    ["learn", "missing.yaml"],
    ["learn", "--output", "x", "--train_size", "many"],
    ["learn", "--output", "x", "--stream", "nothing"],
    ["learn", "--output", "x", "--order", "nothing"],
    ["learn", "--output", "x", "--variant", "nothing"],
    ["learn", "--output", "x", "--optim", "nothing"],
    ["learn", "--output", "x", "--log_level", "nothing"],
    ["learn", "--output", "x", "--eval_strategy", "nothing"],
    ["learn", "--output", "x", "--load_best_model_at_end", "nothing"],
    ["predict", "x"],
    ["prune", "x", "--tasks", "y", "--output", "z", "--threshold", "-1"],
    ["benchmark", "--output", "x", "--stream", "nothing"],
    ["benchmark", "--output", "x", "--methods", "nothing"],
    ["benchmark", "--output", "x", "--seeds", "0"],
    ["benchmark-speed", "--ways", "nothing"],
    ["demo", "--port", "nothing"],
]
RUN = """
import json, sys
from atlas_hf.cli import main
lines, heavy = json.loads(sys.argv[1])
for line in lines:
    try:
        status = main(line)
    except SystemExit as end:
        status = end.code
    print("=", status, [name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("lines", "status"),
    [([["--help"], [], *([command, "--help"] for command in COMMANDS)], 0), (WRONG, 2)],
    ids=["help", "wrong"],
)
def test_answers_without_importing_what_takes_long(lines, status):
    command = [sys.executable, "-c", RUN, json.dumps([lines, HEAVY])]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = [line for line in run.stdout.splitlines() if line.startswith("=")]
    assert dict(zip(map(tuple, lines), answers, strict=True)) == {tuple(line): f"= {status} []" for line in lines}
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert f"atlas-hf {command}" in text and "Example:" in text and COMMANDS[command].split(",")[0] in text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["learn", "--outptu", "x"], "there is no option --outptu. Did you mean --output?"),
        (
            ["learn", "a.csv", "--output", "x", "--lerning-rate=3"],
            "no option --lerning-rate. Did you mean --learning-rat",
        ),
        (["learn", "--output", "x", "--qqqq", "3"], "there is no option --qqqq. atlas-hf learn --help lists them."),
        (["learn", "--output", "x", "-q"], "there is no option -q. atlas-hf learn --help lists them."),
        (["evaluate", "x", "--taks", "y"], "there is no option --taks. Did you mean --tasks?"),
        (["predict", "x", "--tsak", "y"], "there is no option --tsak. Did you mean --task?"),
        (["benchmark-speed", "--wasy", "y"], "there is no option --wasy. Did you mean --ways?"),
    ],
)
def test_a_wrong_option_is_named_in_a_line_with_the_one_that_may_be_meant(line, text, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(line)
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1 and error.startswith(f"atlas-hf {line[0]}: ")


def test_a_misspelt_command_is_told_what_it_may_be(capsys):
    assert main(["leran"]) == 2
    assert capsys.readouterr().err.startswith("atlas-hf: there is no command 'leran'. Did you mean learn?\nusage: ")


def test_help_of_learn_fits_two_screens_and_shows_each_default(capsys):
    from atlas_hf.cli.learn_options import GROUPS

    with pytest.raises(SystemExit, match="0"):
        main(["learn", "--help"])
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 80 and max(map(len, text.splitlines())) < 120
    options = [one.name.replace("_", "-") for group in GROUPS for one in dataclasses.fields(group)]
    assert [name for name in options if f"  --{name} " not in text] == [] and "--adam" not in text
    assert text.count("(default: ") == len(options) - 1, "all but --output, which is needed"
    places = [text.index(f"{title}:\n") for title in (group._argument_group_name for group in GROUPS)]
    assert places == sorted(places)


def test_help_all_of_learn_shows_the_options_of_others_below_our_own(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["learn", "--help-all"])
    text = capsys.readouterr().out
    assert text.index("--label_column") < text.index("--target_modules") < text.index("--adam_epsilon")


def test_names_that_are_known_without_importing_what_they_name():
    assert {name: tuple(stream.ORDERS) for name, stream in streams.STREAMS.items()} == STREAMS
    assert list(STREAMS) == list(streams.STREAMS) and list(benchmark.METHODS) == list(METHODS)
    assert tuple(ways.BACKBONES) == arguments.BACKBONES


def test_a_wrong_name_is_told_with_the_possible_ones():
    check_names("method", ["atlas"], benchmark.METHODS)
    with pytest.raises(ValueError, match="There is no stream 'x'; possible are digits, climb"):
        check_names("stream", ["x"], STREAMS)


def test_the_installed_command_runs():
    run = subprocess.run([Path(sys.executable).parent / "atlas-hf"], capture_output=True, text=True, check=True)
    assert all(f"  {command} " in run.stdout for command in COMMANDS)


def test_as_a_module():
    command = [sys.executable, "-m", "atlas_hf.cli", "nothing"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and run.stderr.startswith("atlas-hf: there is no command 'nothing'\nusage: ")


def test_what_goes_wrong_with_the_hub_is_one_line(monkeypatch, capsys):
    from atlas_hf import hub
    from atlas_hf.cli import info

    def run(options):
        raise hub.HubUnavailableError("The Hub could not be reached.")

    monkeypatch.setattr(info, "run", run)
    assert main(["info", "me/digits"]) == 2
    assert capsys.readouterr().err == "atlas-hf info: The Hub could not be reached.\n"


def test_what_is_not_the_fault_of_the_input_is_not_hidden(monkeypatch):
    from atlas_hf.cli import info

    def run(options):
        raise KeyError("a mistake of ours")

    monkeypatch.setattr(info, "run", run)
    with pytest.raises(KeyError, match="a mistake of ours"):
        main(["info", "x"])
