"""`atlas-hf card`."""

from argparse import Namespace
from pathlib import Path

from atlas_hf.cli.commands import command_parser

HELP = """Example:
  atlas-hf card runs/digits --repo-id me/digits-atlas
  atlas-hf card runs/digits --tasks vqa"""
parser = command_parser("card", HELP)
parser.add_argument("folder", type=Path)
parser.add_argument("--repo-id", help="the repository that the code in the card loads from")
parser.add_argument("--tasks", nargs="+", help="cards of these tasks, in their folders, instead")
parse = parser.parse_args


def run(options: Namespace) -> None:
    """Prints what was written."""
    from atlas_hf.report.card import write_card, write_task_card

    if options.tasks:
        written = [write_task_card(options.folder, task, options.repo_id) for task in options.tasks]
    else:
        written = [write_card(options.folder, options.repo_id)]
    print("\n".join(map(str, written)))
