"""The finished tasks of a folder, for others: the card, each state for its commit, and the push."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from atlas_hf import hub
from atlas_hf.model import AtlasModel
from atlas_hf.report.card import write_card
from atlas_hf.training.arguments import AtlasTrainingArguments

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publisher:
    """Where a folder is published.

    Args:
        folder: the tasks lie in it.
        repo_id: full name of the repository to push to; None for none.
        private, token: as for `atlas_hf.hub.push`.
    """

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
        """Write the card, keep this state for its commit, and push what is not on the Hub yet.

        Args:
            task: the last one that was learned. A push that fails is a warning: nothing of it is lost.
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
