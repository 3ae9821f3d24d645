"""Checkpoints out of a trainer: Trainer's own methods for them, by way of `checkpoints`."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from peft import set_peft_model_state_dict
from torch import Tensor, nn
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import SaveStrategy, TrainOutput

from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.checkpoints import (
    Checkpoint,
    Progress,
    begin_checkpoint,
    check_steps,
    remove_older_checkpoints,
)
from atlas_hf.training.publishing import PublishingTrainer
from atlas_hf.training.settings import fingerprint
from atlas_hf.training.stages import mean_loss
from atlas_hf.tuner import AtlasConfig


def stages_of(experience: Sequence[str]) -> list[str]:
    """The stages of a task that reuses these others, in order."""
    return ["experience", "expansion"] if experience else ["expansion"]


class CheckpointingTrainer(PublishingTrainer):
    """A checkpoint is of one stage: the task that trains alone, and how far the training has come (`Progress`).

    Its attributes are those of `AtlasTrainer`, of whose stages each has its own `args`, made from `task_args`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.stage: str | None = None
        self.stage_metrics: dict[str, dict[str, float]] = {}
        self.opened: list[str] = []
        self.sources: dict[str, float] = {}
        self._base_sha256: str | None = None  # of the backbone, which no stage changes, while `train` runs
        self._start: dict[str, Tensor] = {}  # what the stage trains, as it was before
        self._began = self.seconds = 0.0  # what `train` counts its seconds from, and to
        super().__init__(*args, **kwargs)
        self.task_args = self.args
        self._candidates = list(self._config.experience)
        self._examples: Any = self.train_dataset  # all that there are to learn from

    @property
    def stages(self) -> list[str]:
        """The stages of this task, in order."""
        return stages_of(self._config.experience)

    @property
    def fingerprint(self) -> str:
        """Of all that decides what the task comes to, but for the examples, of which only the number counts."""
        further = self._base_sha256 or self.model.base_sha256, asdict(self.spec), len(self._examples)
        return fingerprint(self.task_args, replace(self._config, experience=self._candidates), *further)

    @property
    def _config(self) -> AtlasConfig:
        return self.model.peft_config[self.task]

    @property
    def _root(self) -> Path:  # of all stages' checkpoints
        return Path(str(self.task_args.output_dir))

    @property
    def _folder(self) -> Path:  # of the current stage's
        return Path(str(self.args.output_dir))

    def _stage_args(self, stage: str) -> AtlasTrainingArguments:
        return self.task_args.for_stage(self.task, stage)

    def last_checkpoint(self) -> Path | None:
        """The latest whole checkpoint of this task, if a training with the same settings wrote it."""
        found = Checkpoint.last(self._root / self.task, stages_of(self._candidates), self.fingerprint)
        return found.path if found else None

    def _go_on_from(self, given: str | bool) -> tuple[Checkpoint, list[str]]:
        """The checkpoint and the stages that are left, its own first; what the training came to is as it was then."""
        path = self.last_checkpoint() if given is True else Path(str(given))
        if path is None:
            raise ValueError(
                f"There is no checkpoint of task '{self.task}' in {self.task_args.output_dir} that is whole and was "
                "written with the same settings; train() begins anew, train('path/to/checkpoint-N') takes another."
            )
        checkpoint = Checkpoint(path)
        stage, reused = checkpoint.stage(self.task), checkpoint.experience(self.task)
        offered = self._config.experience
        if not set(reused) <= {*offered, *self.model.base_model.origins(offered)}:
            raise ValueError(
                f"{path} is of a task that reuses {reused}; task '{self.task}' may reuse {offered}. "
                "Add the task with the same experience, or begin anew: train()."
            )
        stages = stages_of(reused)
        left = stages[stages.index(stage) :]
        if (progress := checkpoint.progress) is not None:
            self.opened, self.sources = progress.opened, progress.sources
            self.stage_metrics, self.seconds = progress.stage_metrics, progress.seconds
        return checkpoint, left

    def _reuse(self, names: Sequence[str]) -> None:
        """These tasks, with queries that a checkpoint holds."""
        if list(names) != self._config.experience:
            self.model.base_model.reuse(self.task, {name: name for name in names})

    def _check_room(self, stages: list[str], checkpoint: Checkpoint | None) -> None:
        """Nothing of others is where checkpoints of these stages will be, nor where a push that fails would save."""
        for stage in stages:
            first = checkpoint.step + 1 if checkpoint and stage == stages[0] else 0
            if self.task_args.save_strategy != SaveStrategy.NO:
                last = self._steps_of(stage)
                check_steps(self._root, self._root / self.task / stage, range(first, last + 1))
        if self.args.push_to_hub:
            self.check_model_folder()

    def _steps_of(self, stage: str) -> int:
        """How many steps a stage has at most."""
        args = self._stage_args(stage)
        batches = math.ceil(len(self.train_dataset) / (args.train_batch_size * args.world_size))
        per_epoch = math.ceil(batches / args.gradient_accumulation_steps)
        return args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * per_epoch)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The task that trains, in a folder of its name, with its stage in the config."""
        if self.args.should_save:
            self.model.save_adapter(self.task, Path(output_dir or self._folder))

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Older ones are removed once this one is whole, so that there is one to go on from at every moment."""
        checkpoint = self._folder / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            begin_checkpoint(self._root, checkpoint)
        super()._save_checkpoint(*args, **kwargs)
        if self.args.should_save:
            if not self.args.save_only_model:
                ended, seconds = self.control.should_training_stop, time.perf_counter() - self._began
                progress = Progress(self.fingerprint, ended, self.opened, self.stage_metrics, seconds, self.sources)
                Checkpoint(checkpoint).keep_start(self._start)
                Checkpoint(checkpoint).mark(progress)
            limit, best = self.task_args.save_total_limit, self.state.best_model_checkpoint
            remove_older_checkpoints(self._root, self._folder, limit, best)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        weights = Checkpoint(Path(resume_from_checkpoint)).weights(self.task, str(self.stage))
        set_peft_model_state_dict(self.model, weights, adapter_name=self.task)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _end_again(self, checkpoint: Checkpoint) -> TrainOutput:
        """What Trainer does after the last step."""
        self.state = TrainerState.load_from_json(str(checkpoint.path / TRAINER_STATE_NAME))
        if self.args.load_best_model_at_end and (best := self.state.best_model_checkpoint) is not None:
            self.state.best_model_checkpoint = str(checkpoint.path.parent / Path(best).name)  # it may have been moved
            self._load_best_model()
        return TrainOutput(self.state.global_step, mean_loss(self.state), {})
