"""A finished task: on the disk with its results, and for others, with the card and the push."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
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
    _drop_checkpoints(folder, task)


def keep_again(model: AtlasModel, results: Results, folder: Path) -> None:
    """What a process may have left undone that was killed after it had saved the last task."""
    for task in model.tasks:
        _drop_checkpoints(folder, task)
    write_results(results, folder)


def write_results(results: Results, folder: Path) -> None:
    """`results.json`, and the pictures of it."""
    results.save(folder)
    draw_results(results, folder)


def _drop_checkpoints(folder: Path, task: str) -> None:
    """Nothing will go on from those of a task that is learned."""
    shutil.rmtree(folder / CHECKPOINTS / task, ignore_errors=True)


@dataclass(frozen=True)
class Publisher:
    """Publishes a folder of tasks to the repository with this full name, if there is one."""

    folder: Path
    repo_id: str | None
    private: bool | None
    token: str | None

    @classmethod
    def of(cls, model: AtlasModel, args: AtlasTrainingArguments, folder: Path) -> Publisher:
        """As the arguments say. The first process makes sure that the token may write to the repository.

        Raises:
            ValueError: no repository is named, or nobody else could load the backbone.
            HubError: the repository cannot be written.
        """
        repo_id = None
        if args.push_to_hub and args.process_index == 0:
            if not args.hub_model_id:
                raise ValueError(
                    "push_to_hub needs hub_model_id: the repository to push to, for example 'me/my-atlas'."
                )
            model.check_pushable()
            repo_id = hub.ensure_writable_repo(args.hub_model_id, private=args.hub_private_repo, token=args.hub_token)
        return cls(folder, repo_id, args.hub_private_repo, args.hub_token)

    def publish(self, task: str) -> None:
        """Write the card, keep this state, whose last task is `task`, for its commit, and push what is missing there.

        A push that fails is a warning: nothing of it is lost.
        """
        write_card(self.folder, self.repo_id)
        hub.snapshot(self.folder, task)
        if self.repo_id is None:
            return
        try:
            hub.push(self.folder, self.repo_id, private=self.private, token=self.token)
        except (hub.HubError, ValueError) as error:
            logger.warning(
                "Task '%s' is learned and saved in %s, but was not pushed to %s: %s It is pushed with the next task, "
                "or with `atlas-hf push %s %s`.", task, self.folder, self.repo_id, error, self.folder, self.repo_id,
            )  # fmt: skip
