"""To the Hub out of a trainer: Trainer's own methods for it, by way of `atlas_hf.hub` and this package's card."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from atlas_hf import hub
from atlas_hf.folder import INDEX, TASK_FILES, Owned
from atlas_hf.model import AtlasModel
from atlas_hf.report.card import write_card
from atlas_hf.training import refused
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.recording import RecordingTrainer
from atlas_hf.training.refused import refuse

logger = logging.getLogger(__name__)
MODEL = "model"  # a trainer's tasks as saved, beside the checkpoints


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
    with saying_what_to_do_without_the_hub(args):
        return hub.ensure_writable_repo(args.hub_model_id, private=args.hub_private_repo, token=args.hub_token)


@contextmanager
def saying_what_to_do_without_the_hub(args: AtlasTrainingArguments) -> Iterator[None]:
    """Adds to a `HubUnavailableError` that comes before anything was learned how to learn nevertheless."""
    try:
        yield
    except hub.HubUnavailableError as error:
        raise hub.HubUnavailableError(
            f"{error} Nothing was learned yet. To learn without the Hub, drop --push_to (push_to_hub=True), and push "
            f"later: atlas-hf push FOLDER {args.hub_model_id}"
        ) from error


class PublishingTrainer(RecordingTrainer):
    """What is pushed are finished tasks, one commit and one tag each, and never a checkpoint."""

    hub_model_id: str | None  # type: ignore[assignment]  # Trainer sets it later, too

    @property
    def _model_folder(self) -> Path:
        return Path(str(self.args.output_dir)) / MODEL

    def check_model_folder(self) -> None:
        """Raise a `ValueError` if something of others is where the tasks are saved, should they not be pushed."""
        files = [f"{task}/{file}" for task in {*self.model.tasks, self.task} for file in TASK_FILES]
        Owned(self._model_folder).check(self._model_folder / name for name in (INDEX, *files))

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make sure that the repository `args.hub_model_id` is there and can be written; see `repository`."""
        args = copy(self.args)
        args.push_to_hub, args.hub_token = True, token or args.hub_token
        args.hub_private_repo = args.hub_private_repo if private is None else private
        self.hub_model_id = repository(self.model, args)

    def push_to_hub(  # type: ignore[override]  # a commit per task, not one
        self,
        commit_message: str | None = None,
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> list[hub.Pushed]:
        """Bring every finished task to `args.hub_model_id`, as `AtlasModel.push_to_hub`; what is there is not sent.

        Raises:
            ValueError: an argument that only Trainer's own push could follow, or what `repository` raises.
            HubError: see `atlas_hf.hub.push`.
        """
        waits = None if blocking else blocking
        self._refuse_of_push(commit_message=commit_message, blocking=waits, revision=revision, **kwargs)
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if not self.is_world_process_zero():
            return []
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        private = self.args.hub_private_repo if private is None else private
        return self.model.push_to_hub(str(self.hub_model_id), private=private, token=token or self.args.hub_token)

    def create_model_card(self, **kwargs: Any) -> None:  # type: ignore[override]  # it is drawn from what was learned
        """Save the tasks, with this package's card, to `output_dir/model`."""
        self._refuse_of_push(**kwargs)
        if self.is_world_process_zero():
            self.model.save_pretrained(self._model_folder)
            write_card(self._model_folder, self.hub_model_id or self.args.hub_model_id)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save all tasks as `AtlasModel.save_pretrained` does, by default to `output_dir/model`, and push if asked to.

        A checkpoint, which Trainer writes through this method too, holds the task that trains alone.
        """
        if _internal_call:
            super().save_model(output_dir, _internal_call)
            return
        if self.args.should_save:
            self.model.save_pretrained(output_dir or self._model_folder)
        if self.args.push_to_hub:
            self.push_to_hub()

    def publish(self) -> None:
        """Push the task that was just finished. If that fails it is saved, with a warning that says where."""
        try:
            self.push_to_hub()
        except (hub.HubError, ValueError) as error:
            self.model.save_pretrained(self._model_folder)
            logger.warning(
                "Task '%s' is learned and saved in %s, but was not pushed to %s: %s Call trainer.push_to_hub() again, "
                "or `atlas-hf push %s %s`.", self.task, self._model_folder, self.hub_model_id, error,
                self._model_folder, self.hub_model_id,
            )  # fmt: skip

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Checkpoints are not pushed."""

    @staticmethod
    def _refuse_of_push(**given: Any) -> None:
        for name, value in given.items():
            if value is not None:
                refuse(name, value, refused.PUSH)
