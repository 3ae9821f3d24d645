"""From the words of a command line to an exit status."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from atlas_hf.cli.commands import COMMANDS, Command, command, usage


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 2 with one line on standard error where the input is at fault."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    name, *words = argv
    if name not in COMMANDS:
        print(f"atlas-hf: there is no command {name!r}\n{usage()}", file=sys.stderr)
        return 2
    module = command(name)
    try:
        options = module.parse(words)
    except (ValueError, OSError) as error:
        return _fault(name, error)
    return _run(name, module, options)


def _run(name: str, module: Command, options: argparse.Namespace) -> int:
    _quieten()
    try:
        module.run(options)
    except (ValueError, OSError, FloatingPointError) as error:
        return _fault(name, error)
    except _hub_error() as error:  # looked up only if something else was raised: its room takes a while to import
        return _fault(name, error)
    return 0


def _quieten() -> None:
    """What libraries report of themselves would hide what a command prints."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _hub_error() -> type[Exception]:
    from atlas_hf.hub import HubError

    return HubError


def _fault(name: str, error: Exception) -> int:
    print(f"atlas-hf {name}: {error}", file=sys.stderr)
    return 2
