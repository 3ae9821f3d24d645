"""The command itself: help, what it says to wrong arguments, and what it imports for that."""

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


def test_a_wrong_option_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["learn", "--output", "x", "--nonsense", "3"])
    assert "unrecognized arguments: --nonsense 3" in capsys.readouterr().err


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
