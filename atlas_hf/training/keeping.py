"""A finished task: on the disk with its results, and for others, with the card and the push."""

import logging
import shutil
from pathlib import Path

from atlas_hf import hub
from atlas_hf.folder import CHECKPOINTS, Results
from atlas_hf.model import AtlasModel
from atlas_hf.report.card import write_card
from atlas_hf.report.pictures import draw_results
from atlas_hf.training.arguments import AtlasTrainingArguments

logger = logging.getLogger(__name__)


def keep(model: AtlasModel, task: str, results: Results, folder: Path) -> None:
    """Save a task; it counts as learned from the moment that `atlas.json` names it, which is written last.

    `results` are of all tasks, this one included; `folder` holds all others.
    """
    write_results(results, folder)
    model.save_pretrained(folder, tasks=[task])
    shutil.rmtree(folder / CHECKPOINTS / task, ignore_errors=True)


def keep_again(model: AtlasModel, results: Results, folder: Path) -> None:
    """What a process may have left undone that was killed after it had saved the last task."""
    for task in model.tasks:
        shutil.rmtree(folder / CHECKPOINTS / task, ignore_errors=True)
    write_results(results, folder)


def write_results(results: Results, folder: Path) -> None:
    """`results.json`, and the pictures of it."""
    results.save(folder)
    draw_results(results, folder)


def repository(model: AtlasModel, args: AtlasTrainingArguments) -> str | None:
    """Full name of the repository that the first process pushes to, which it makes sure that it can write.

    Raises:
        ValueError: no repository is named, or nobody else could load the backbone.
        HubError: the repository cannot be written.
    """
    if not args.push_to_hub or args.process_index != 0:
        return None
    if not args.hub_model_id:
        raise ValueError("push_to_hub needs hub_model_id: the repository to push to, for example 'me/my-atlas'.")
    model.check_pushable()
    return hub.ensure_writable_repo(args.hub_model_id, private=args.hub_private_repo, token=args.hub_token)


def publish(folder: Path, task: str, repo_id: str | None, args: AtlasTrainingArguments) -> None:
    """Write the card, keep this state, whose last task is `task`, for its commit, and push what is not there yet.

    A push that fails is a warning: nothing of it is lost.
    """
    write_card(folder, repo_id)
    hub.snapshot(folder, task)
    if repo_id is None:
        return
    try:
        hub.push(folder, repo_id, private=args.hub_private_repo, token=args.hub_token)
    except (hub.HubError, ValueError) as error:
        logger.warning(
            "Task '%s' is learned and saved in %s, but was not pushed to %s: %s It is pushed with the next task, "
            "or with `atlas-hf push %s %s`.", task, folder, repo_id, error, folder, repo_id,
        )  # fmt: skip
