"""`atlas-hf push-space`."""

from argparse import Namespace
from pathlib import Path

from atlas_hf.cli.commands import command_parser
from atlas_hf.demo import DIGITS_MODEL_ID

HELP = """Example:
  atlas-hf push-space me/digits-atlas me/digits-demo
  atlas-hf push-space runs/digits me/digits-demo --repo-id me/digits-atlas"""
parser = command_parser("push-space", HELP)
parser.add_argument("model", help=f"Hub repository, or a folder that was pushed; {DIGITS_MODEL_ID}: the shipped one")
parser.add_argument("space_id", help="name or owner/name; made if it is not there")
parser.add_argument("--repo-id", help="the repository that a folder was pushed to")
parser.add_argument("--private", action="store_true", default=None, help="make a new Space private")
parser.add_argument("--token", help="by default the one of `hf auth login` or HF_TOKEN")
parse = parser.parse_args


def run(options: Namespace) -> None:
    """One line: the Space, its commit, what changed."""
    from atlas_hf.demo.space import package_files, space_files
    from atlas_hf.hub import fill_space

    model_id = pushed_model(options.model, options.repo_id, options.token)
    files = package_files() | space_files(model_id)
    filled = fill_space(files, options.space_id, "Update the demo", private=options.private, token=options.token)
    kept = f", left alone as edited on the Hub: {', '.join(filled.kept)}" if filled.kept else ""
    print(f"{filled.repo_id}  {filled.commit[:12]}  {len(filled.new) or 'no'} files changed{kept}")


def pushed_model(model: str, repo_id: str | None, token: str | None) -> str:
    """The repository that a Space can load, checked: it is there, and holds what the folder holds.

    Raises a `ValueError` for a folder that was not pushed to `repo_id` as it is, and `HubError` as `hub.download`.
    """
    from atlas_hf import hub

    if model == DIGITS_MODEL_ID:
        return model
    if not Path(model).is_dir():
        hub.download(model, tasks=[], token=token)
        return model
    if repo_id is None:
        raise ValueError(f"{model} is a folder. Push it (atlas-hf push {model} REPO), and name it: --repo-id REPO")
    there = {task.push_id for task in hub.finished_tasks(hub.download(repo_id, tasks=[], token=token))}
    missing = [task.name for task in hub.finished_tasks(model) if task.push_id not in there]
    if missing:
        raise ValueError(
            f"{repo_id} lacks {', '.join(missing)} of {model}. Push first: atlas-hf push {model} {repo_id}"
        )
    return repo_id
