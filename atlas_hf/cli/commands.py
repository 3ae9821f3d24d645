"""The commands, and from the words of a command line to an exit status.

One command more is a line in `COMMANDS` and a module of this room, by its name, with two functions. `parse` gives the
options of a list of words, checked; it imports nothing that takes long, and exits at wrong ones, or raises a
`ValueError`. `run` does what the options ask for; what the input is at fault for is a `ValueError`, `HubError`,
`OSError` or `FloatingPointError`.
"""

import logging
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Collection, Iterable
from importlib import import_module
from types import ModuleType

from atlas_hf.cli.line_parser import OneLine, meant

COMMANDS = {
    "learn": "Learn a stream of tasks, each from what helps it, and write every finished task to a folder.",
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
GOES_ON = ("learn", "push", "benchmark", "push-space")  # where they stopped, when they are run again
# The orders of each of `atlas_hf.streams.STREAMS`, which takes long to import.
STREAMS = {
    "digits": ("multi-first", "mono-first"),
    "climb": ("multi-first", "mono-first"),
    "real": ("large-first", "small-first"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0, or with one line on standard error 2 where the input is at fault, 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    name, *words = argv
    if name not in COMMANDS:
        hint = meant([name], COMMANDS)
        print(f"atlas-hf: there is no command {name!r}{hint and f'.{hint}'}\n{usage()}", file=sys.stderr)
        return 2
    command = import_module(f"atlas_hf.cli.{name.replace('-', '_')}")
    try:
        _run(command, command.parse(words))
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"atlas-hf {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "what is done is kept, and the same command goes on from there" if name in GOES_ON else "stopped"
        print(f"\natlas-hf {name}: interrupted; {kept}", file=sys.stderr)
        return 130
    return 0


def _run(command: ModuleType, options: Namespace) -> None:
    from transformers.utils import logging as transformers_logging

    from atlas_hf.hub import HubError

    # What libraries report of themselves would hide what a command prints.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        command.run(options)
    except HubError as error:  # a class that `main` could name only by importing what takes long
        raise ValueError(str(error)) from error


def usage() -> str:
    """What `atlas-hf --help` shows."""
    width = max(map(len, COMMANDS)) + 2
    listed = "\n".join(f"  {name:<{width}}{summary}" for name, summary in COMMANDS.items())
    return f"usage: atlas-hf COMMAND ...\n\n{listed}\n\n`atlas-hf COMMAND --help` shows an example."


def command_parser(name: str, about: str) -> ArgumentParser:
    """A parser without options; `about` follows the command's line of `COMMANDS`."""
    return OneLine(
        prog=f"atlas-hf {name}",
        description=f"{COMMANDS[name]}\n\n{about}",
        formatter_class=RawDescriptionHelpFormatter,
    )


def check_names(what: str, names: Iterable[str], possible: Collection[str]) -> None:
    """Raises a `ValueError` that lists the possible names, unless all are among them."""
    unknown = [name for name in names if name not in possible]
    if unknown:
        raise ValueError(f"There is no {what} {', '.join(map(repr, unknown))}; possible are {', '.join(possible)}.")
