"""`atlas-hf demo` and `atlas-hf push-space`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import atlas_hf_command
from atlas_hf import hub
from atlas_hf.demo import DIGITS_MODEL_ID, launch, space
from atlas_hf.demo.space import package_files, space_files

DEMO_HELP = """Show a model in the browser: ask it, see what it reuses, see that it forgets nothing.

Example:
  atlas-hf demo                                (the model that comes with the package; no network)
  atlas-hf demo runs/digits
  atlas-hf demo me/digits-atlas --revision task-04-vqa

Needs gradio: pip install 'atlas_hf[demo]'"""

PUSH_SPACE_HELP = """Make a Space of the demo on the Hub, for a model that was pushed.

Example:
  atlas-hf push-space me/digits-atlas me/digits-demo
  atlas-hf push-space runs/digits me/digits-demo --repo-id me/digits-atlas"""


def demo(argv: Sequence[str]) -> None:
    parser = _parser("demo", DEMO_HELP)
    parser.add_argument("model", nargs="?", default=DIGITS_MODEL_ID, help="folder or Hub repository")
    parser.add_argument("--revision", help="commit, branch or tag, for a repository")
    parser.add_argument("--host", help="by default 127.0.0.1, which only this machine can reach")
    parser.add_argument("--port", type=int, help="by default the first free one from 7860")
    options = parser.parse_args(argv)
    page = atlas_hf_command.waiting()
    where = {"host": page.host, "port": page.port, "before": page.close} if page else {}
    launch(options.model, options.revision, **{"host": options.host, "port": options.port} | where)


def push_space(argv: Sequence[str]) -> None:
    parser = _parser("push-space", PUSH_SPACE_HELP)
    parser.add_argument(
        "model", help=f"Hub repository, or a folder that was pushed; {DIGITS_MODEL_ID}: the shipped one"
    )
    parser.add_argument("space_id", help="name or owner/name; made if it is not there")
    parser.add_argument("--repo-id", help="the repository that a folder was pushed to")
    parser.add_argument("--private", action="store_true", default=None, help="make a new Space private")
    parser.add_argument("--token", help="by default the one of `hf auth login` or HF_TOKEN")
    options = parser.parse_args(argv)
    model_id = pushed_model(options.model, options.repo_id, options.token)
    files = package_files() | space_files(model_id)
    filled = space.push_space(files, options.space_id, private=options.private, token=options.token)
    kept = f", left alone as edited on the Hub: {', '.join(filled.kept)}" if filled.kept else ""
    print(f"{filled.repo_id}  {filled.commit[:12]}  {len(filled.new) or 'no'} files changed{kept}")


def pushed_model(model: str, repo_id: str | None, token: str | None) -> str:
    """The repository that a Space can load, checked: it is there, and holds what the folder holds.

    Raises a `ValueError` for a folder that was not pushed to `repo_id` as it is, and `HubError` as `hub.download`.
    """
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


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"atlas-hf {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
