"""`atlas-hf benchmark-speed`."""

from argparse import Namespace

from atlas_hf.benchmark.speed.arguments import HELP, add_arguments
from atlas_hf.cli.commands import command_parser


def parse(argv: list[str]) -> Namespace:
    parser = command_parser("benchmark-speed", HELP)
    add_arguments(parser)
    return parser.parse_args(argv)


def run(options: Namespace) -> None:
    """Tables as they are measured."""
    from atlas_hf.benchmark.speed.run import run as measure

    measure(options)
