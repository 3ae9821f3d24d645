"""`atlas-hf benchmark-speed`."""

from argparse import Namespace

from atlas_hf.benchmark.speed.arguments import HELP, add_arguments
from atlas_hf.cli.commands import command_parser

parser = command_parser("benchmark-speed", HELP)
add_arguments(parser)
parse = parser.parse_args


def run(options: Namespace) -> None:
    """Tables as they are measured."""
    from atlas_hf.benchmark.speed.run import run as measure

    measure(options)
