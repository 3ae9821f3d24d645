"""`atlas-hf push`."""

from argparse import Namespace
from pathlib import Path

from atlas_hf.cli.commands import command_parser

HELP = """Example:
  atlas-hf push runs/digits me/digits-atlas

What is there already is not sent; safe to run again after any interruption."""
parser = command_parser("push", HELP)
parser.add_argument("folder", type=Path)
parser.add_argument("repo_id", help="name or owner/name; made if it is not there")
parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
parser.add_argument("--token", help="by default the one of `hf auth login` or HF_TOKEN")
parse = parser.parse_args


def run(options: Namespace) -> None:
    """A line per task."""
    from atlas_hf import hub
    from atlas_hf.report.card import write_cards

    if not hub.pushable_tasks(options.folder):  # before a repository is made
        raise ValueError(f"{options.folder} has no finished task yet, so there is nothing to push.")
    repo_id = hub.ensure_writable_repo(options.repo_id, private=options.private, token=options.token)
    write_cards(options.folder, repo_id)
    for task in hub.push(options.folder, repo_id, private=options.private, token=options.token):
        kept = f", left alone as edited on the Hub: {', '.join(task.kept)}" if task.kept else ""
        print(f"{task.tag}  {task.commit[:12]}  {'pushed' if task.new else 'was there'}{kept}")
