"""The commands. One more is a module of this room, by its name, and a line here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

COMMANDS = {
    "learn": "Learn a stream of tasks, each in two stages, and write every finished task to a folder.",
    "evaluate": "Score the tasks of a folder or repository on the test data that they were scored on.",
    "predict": "Ask a learned task, and print its answers with scores, best first.",
    "info": "What is in a folder or repository: tasks, what each reuses, parameters, accuracy matrix.",
    "prune": "Let learned tasks no longer reuse adapters that add next to nothing; the result is a new folder.",
    "push": "Bring every finished task of a folder to the Hub: one commit and one tag each, exactly once.",
    "card": "Write the model card (README.md) of a folder anew, or those of its tasks.",
    "benchmark": "Measure methods on a stream, over orders and seeds, and report.",
    "report": "Draw the report of a benchmark's folder anew.",
    "benchmark-speed": (
        "Time a forward pass and the training steps of both stages against a bare backbone and the least possible."
    ),
    "demo": "Show a model in the browser: ask it, see what it reuses, see that it forgets nothing.",
    "push-space": "Make a Space of the demo on the Hub, for a model that was pushed.",
}


class Command(Protocol):
    """What the module of a command has."""

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The options, checked; imports nothing that takes long. Exits at wrong ones, or raises `ValueError`."""

    def run(self, options: argparse.Namespace) -> None:
        """Do it. What the input is at fault for is a `ValueError`, `HubError`, `OSError` or `FloatingPointError`."""


def command(name: str) -> Command:
    """The module of a command."""
    return cast(Command, import_module(f"atlas_hf.cli.{name.replace('-', '_')}"))


def command_parser(name: str, about: str) -> argparse.ArgumentParser:
    """A parser without options; `about` follows the command's line of `COMMANDS`."""
    return argparse.ArgumentParser(
        prog=f"atlas-hf {name}",
        description=f"{COMMANDS[name]}\n\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def usage() -> str:
    """What `atlas-hf --help` shows."""
    width = max(map(len, COMMANDS)) + 2
    listed = "\n".join(f"  {name:<{width}}{summary}" for name, summary in COMMANDS.items())
    return f"usage: atlas-hf COMMAND ...\n\n{listed}\n\n`atlas-hf COMMAND --help` shows an example."
