"""`AtlasTrainer`: learns one task in its two stages."""

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch
from datasets import Dataset
from peft import set_peft_model_state_dict
from torch import Tensor, nn
from transformers import ProgressCallback, TrainerState, TrainingArguments, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import SaveStrategy, TrainOutput

from atlas_hf.model import AtlasModel
from atlas_hf.training import refused
from atlas_hf.training.checkpoints import (
    Checkpoint,
    Progress,
    begin_checkpoint,
    check_steps,
    last_good_checkpoint,
    remove_older_checkpoints,
)
from atlas_hf.training.publishing import PublishingTrainer
from atlas_hf.training.refused import refuse
from atlas_hf.training.resuming import fingerprint
from atlas_hf.training.screening import open_useful
from atlas_hf.training.stages import (
    StagePatience,
    StageProgress,
    StageTable,
    begin_stage,
    changing_only,
    mean_loss,
    name_curves,
    stage_summary,
    stage_table,
)
from atlas_hf.tuner import AtlasConfig


class AtlasTrainer(PublishingTrainer):
    """Trains a task of an `AtlasModel`: experience-based learning, if it reuses others, then its own adapter.

    Each stage has its own optimizer, schedule, length and learning rate, evaluation, best state and early stopping,
    and is checked to have changed nothing but what it trains. What can be passed of transformers' `Trainer` and its
    arguments works in every stage, the rest is refused (`docs/training-arguments.md`); the same callbacks see every
    stage. With `args.push_to_hub` access is checked at once, and the task is pushed when it is finished.

    Args:
        model: holds the task already (`model.add_task`).
        args: see `AtlasTrainingArguments`; plain `TrainingArguments` do as well. A stage's checkpoints lie in
            `output_dir/<task>/<stage>`.
        task: the task's name; by default the model's active task.
        train_dataset, eval_dataset: with the columns that the task's `TaskSpec` names. Without `eval_dataset` a stage
            ends with its last state; it may be a dict of several.
        relearn: learn a finished task again, from its present state: through all of its stages, without screening.
            Without it a finished task is refused, and one that others reuse always is. To go on from a checkpoint of
            a training that was interrupted is no relearning.
        kwargs: further arguments of `Trainer`. `compute_metrics` adds to the task's own metric.

    Attributes:
        stage: the current one, while `train` runs.
        stage_metrics: what each finished stage came to.
        opened: the earlier tasks that the screening found useful (`AtlasConfig.init_queries`).
        seconds: what the stages took so far, that of an earlier run included that `train` goes on from.

    Raises:
        ValueError: an argument is refused, the task is unknown, or the data do not fit its `TaskSpec`.
        HubError: `args.push_to_hub`, and the repository cannot be written.
    """

    model: AtlasModel

    def __init__(
        self,
        model: AtlasModel,
        args: TrainingArguments,
        task: str | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        *,
        relearn: bool = False,
        **kwargs: Any,
    ) -> None:
        self.relearn = relearn
        self.stage: str | None = None
        self.stage_metrics: dict[str, dict[str, float]] = {}
        self.opened: list[str] = []
        self._base_sha256: str | None = None  # of the backbone, which no stage changes, while `train` runs
        self._again = False  # is a finished task learned once more?
        self._began = self.seconds = 0.0  # what `train` counts its seconds from, and to
        super().__init__(model, args, task, train_dataset, eval_dataset, **kwargs)
        self.add_callback(StageTable(self.stage_table))
        if not self.args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(StageProgress(lambda: f"{self.task}, {self.stage}"))
        name_curves(self.callback_handler.callbacks, self._where)
        self.task_args = self.args

    @property
    def stages(self) -> list[str]:
        """The stages of this task, in order."""
        return (["experience"] if self._config.experience else []) + ["expansion"]

    @property
    def _folder(self) -> Path:  # of the current stage's checkpoints
        return Path(str(self.args.output_dir))

    @property
    def _config(self) -> AtlasConfig:
        return self.model.peft_config[self.task]

    def _where(self) -> str:
        return "/".join(filter(None, [self.task, self.stage]))

    def stage_table(self) -> str:
        """What the current stage trains, as text."""
        return stage_table(self.model, self.task, self.stages, str(self.stage), self.opened)

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Run the stages; the task is complete, and frozen, afterwards.

        Args:
            resume_from_checkpoint: a checkpoint of one of the stages: earlier stages are skipped, this one goes on.
                Without `args.save_only_model`, one process ends with the bytes of a training in one go. True is
                `last_checkpoint()`.
            trial: refused; Trainer's hyperparameter search.
            ignore_keys_for_eval: as Trainer's, in each stage.

        Returns steps and loss of the last stage, with the metrics of every stage.

        Raises:
            FloatingPointError: the loss, an answer in evaluation or a weight is NaN or infinite.
            ValueError: the checkpoint is another task's, or there is none, or no `train_dataset`, or the task may not
                learn (`AtlasModel.check_may_learn`, `check_backbone`), or something of others is where a checkpoint
                will be. Nothing has moved then.
        """
        if trial is not None:
            refuse("trial", trial, refused.METHODS["hyperparameter_search"])
        if self.train_dataset is None:
            raise ValueError("Training needs a train_dataset; pass one to the trainer.")
        self.model.check_may_learn(self.task, self.relearn)
        self._base_sha256 = self.model.check_backbone(to_learn=True).sha256
        self._again = self._config.stage == "complete"
        stages, checkpoint = self.stages, None
        if resume_from_checkpoint:
            checkpoint = self._checkpoint(resume_from_checkpoint)
            stages = stages[stages.index(checkpoint.stage(self.task)) :]
            if (progress := checkpoint.progress) is not None:
                self.opened, self.stage_metrics = progress.opened, progress.stage_metrics
                self.seconds = progress.seconds
        self._check_room(stages, checkpoint)
        self._began = time.perf_counter() - self.seconds
        for stage in stages:
            output = self._train_stage(stage, checkpoint, ignore_keys_for_eval=ignore_keys_for_eval)
            checkpoint = None
        self.seconds = time.perf_counter() - self._began
        self.model.set_stage(self.task, "complete")
        self.stage, self.args, self._base_sha256 = None, self.task_args, None
        if self.args.push_to_hub:
            self.publish()
        metrics = {f"{stage}/{name}": value for stage, m in self.stage_metrics.items() for name, value in m.items()}
        return TrainOutput(output.global_step, output.training_loss, metrics)

    def _checkpoint(self, given: str | bool) -> Checkpoint:
        path = self.last_checkpoint() if given is True else Path(str(given))
        if path is None:
            raise ValueError(
                f"There is no checkpoint of task '{self.task}' in {self.task_args.output_dir} that is whole and was "
                "written with the same settings; train() begins anew, train('path/to/checkpoint-N') takes another."
            )
        return Checkpoint(path)

    def _check_room(self, stages: list[str], checkpoint: Checkpoint | None) -> None:
        """Nothing of others is where checkpoints of these stages will be, nor where a push that fails would save."""
        root = Path(str(self.task_args.output_dir))
        for stage in stages:
            args = self.task_args.for_stage(self.task, stage)
            batches = math.ceil(len(self.train_dataset) / (args.train_batch_size * args.world_size))
            per_epoch = math.ceil(batches / args.gradient_accumulation_steps)
            last = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * per_epoch)
            first = checkpoint.step + 1 if checkpoint and stage == stages[0] else 0
            if args.save_strategy != SaveStrategy.NO:
                check_steps(root, root / self.task / stage, range(first, last + 1))
        if self.args.push_to_hub:
            self.check_model_folder()

    def _train_stage(self, stage: str, checkpoint: Checkpoint | None, **kwargs: Any) -> TrainOutput:
        self._enter(stage)
        if checkpoint is not None:  # it also holds what an earlier stage trained, and this one must not
            self._load_from_checkpoint(str(checkpoint.path))
        screens = self._config.init_queries == "screened" and not self._again
        with changing_only(self.model, self.task, stage):
            if stage == "experience" and checkpoint is None and screens:
                self.opened = open_useful(self.model, self.task, self.train_dataset, self.args.seed)
            if checkpoint is not None and checkpoint.has_ended(self.fingerprint):
                output = self._end_again(checkpoint)
            else:
                output = super().train(str(checkpoint.path) if checkpoint else None, **kwargs)
        odd = [
            key for key, value in self.model.base_model.task_tensors(self.task).items() if not value.isfinite().all()
        ]
        if odd:
            self._went_astray(f"step {self.state.global_step}: {odd[0]} is NaN or infinite")
        self.stage_metrics[stage] = stage_summary(output, self.state, self.args, self.spec.metric)
        return output

    def _enter(self, stage: str) -> None:
        """Freeze and unfreeze for the stage, and forget the optimizer and wrapper of the stage before."""
        self.stage = stage
        self.args = self.task_args.for_stage(self.task, stage)
        self.args.save_total_limit = None  # see _save_checkpoint
        self.args.logging_nan_inf_filter = False  # a NaN ends the stage (training_step): there is none to hide
        self.model.set_stage(self.task, stage, relearn=self.relearn)
        self.model_wrapped = self.model
        self.optimizer, self.lr_scheduler = None, None
        self.remove_callback(StagePatience)
        if self.args.early_stopping_patience is not None:
            self.add_callback(StagePatience(self.args.early_stopping_patience))
        begin_stage(self.callback_handler.callbacks)
        name_curves(self.callback_handler.callbacks, self._where)  # those that were added since
        set_seed(self.args.seed)

    # Trainer's hooks -----------------------------------------------------------------------------------------------

    def rate(self, name: str) -> float:
        """The learning rate of a parameter, as a multiple of `args.learning_rate`."""
        return self.args.query_lr_multiplier if ".atlas_experience_query." in name else 1

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The task's loss; in training with the orthogonality penalty."""
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if model.training and self.args.orthogonality_weight:
            penalty = self.args.orthogonality_weight * self.model.base_model.orthogonality(self.task)
            if self.compute_loss_func is not None:  # Trainer adds up its losses over the accumulated batches
                penalty = penalty / self.current_gradient_accumulation_steps
            loss = loss + penalty
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Trainer's, but a loss that is NaN or infinite ends the stage, with a word on what can be gone back to."""
        loss = super().training_step(*args, **kwargs)
        if not loss.isfinite():
            self._went_astray(f"step {self.state.global_step + 1}: the loss is {loss.item()}")
        return loss

    def _went_astray(self, what: str) -> NoReturn:
        good = last_good_checkpoint(self._folder, self.task)
        back = f"The last good checkpoint is {good}." if good else "This stage has no good checkpoint yet."
        raise FloatingPointError(
            f"Task '{self.task}', stage '{self.stage}', {what}. {back} Look for such values in the data, or lower the "
            "learning rate (learning_rate, query_lr_multiplier), and train the task again."
        )

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Trainer's, with the orthogonality penalty beside the loss."""
        if "loss" in logs and self.args.orthogonality_weight:
            with torch.no_grad():
                logs["orthogonality"] = self.model.base_model.orthogonality(self.task).item()
        super().log(logs, *args, **kwargs)

    # Checkpoints ---------------------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """Of all that decides what the task comes to, but for the examples, of which only the number counts."""
        further = self._base_sha256 or self.model.base_sha256, asdict(self.spec), len(self.train_dataset)
        return fingerprint(self.task_args, self._config, *further)

    def last_checkpoint(self) -> Path | None:
        """The latest whole checkpoint of this task, if a training with the same settings wrote it."""
        found = Checkpoint.last(Path(str(self.task_args.output_dir)) / self.task, self.stages, self.fingerprint)
        return found.path if found else None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint holds the task that trains, in a folder of its name, with its stage in the config."""
        if self.args.should_save:
            self.model.save_adapter(self.task, Path(output_dir or self._folder))

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Older ones are removed once this one is whole, so that there is one to go on from at every moment."""
        root, checkpoint = Path(str(self.task_args.output_dir)), self._folder / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            begin_checkpoint(root, checkpoint)
        super()._save_checkpoint(*args, **kwargs)
        if self.args.should_save:
            if not self.args.save_only_model:
                ended, seconds = self.control.should_training_stop, time.perf_counter() - self._began
                progress = Progress(self.fingerprint, ended, self.opened, self.stage_metrics, seconds)
                Checkpoint(checkpoint).mark(progress)
            limit, best = self.task_args.save_total_limit, self.state.best_model_checkpoint
            remove_older_checkpoints(root, self._folder, limit, best)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        weights = Checkpoint(Path(resume_from_checkpoint)).weights(self.task, str(self.stage))
        set_peft_model_state_dict(self.model, weights, adapter_name=self.task)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _end_again(self, checkpoint: Checkpoint) -> TrainOutput:
        """What Trainer does after the last step."""
        self.state = TrainerState.load_from_json(str(checkpoint.path / TRAINER_STATE_NAME))
        if self.args.load_best_model_at_end and (best := self.state.best_model_checkpoint) is not None:
            self.state.best_model_checkpoint = str(self._folder / Path(best).name)  # the folder may have been moved
            self._load_best_model()
        return TrainOutput(self.state.global_step, mean_loss(self.state), {})
