"""`AtlasTrainer`: learns one task in its two stages."""

import time
from typing import Any, NoReturn

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import TrainOutput

from atlas_hf.model import AtlasModel, Beginning
from atlas_hf.training import refused
from atlas_hf.training.checkpoints import Checkpoint, last_good_checkpoint
from atlas_hf.training.console import TrainingBar, TrainingLines, duration
from atlas_hf.training.deciding import DecidingTrainer
from atlas_hf.training.refused import refuse
from atlas_hf.training.screening import open_useful
from atlas_hf.training.stages import (
    StagePatience,
    StageTable,
    begin_stage,
    changing_only,
    name_curves,
    stage_summary,
    stage_table,
)


class AtlasTrainer(DecidingTrainer):
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
        max_experience: reuse so many earlier tasks at most (`recipe="evidence"`); None for any number.
        relearn: learn a finished task again, from its present state: through all of its stages, without screening.
            Without it a finished task is refused, and one that others reuse always is. To go on from a checkpoint of
            a training that was interrupted is no relearning, nor is to train again after it: the task then begins
            anew, as it was before.
        kwargs: further arguments of `Trainer`. `compute_metrics` adds to the task's own metric.

    Attributes:
        stage: the current one, while `train` runs.
        stage_metrics: what each finished stage came to.
        opened, sources: the earlier tasks at whose models the task began, and what was measured of others, see
            `atlas_hf.training.sources.find_sources`. With `recipe="paper"`, `opened` are those that
            screening found useful (`AtlasConfig.init_queries`).
        seconds: what the stages took so far, that of an earlier run included that `train` goes on from.

    Raises:
        ValueError: an argument is refused, the task is unknown, or the data do not fit its `TaskSpec`.
        HubError: `args.push_to_hub`, and the repository cannot be written.
    """

    def __init__(
        self,
        model: AtlasModel,
        args: TrainingArguments,
        task: str | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        *,
        max_experience: int | None = None,
        relearn: bool = False,
        **kwargs: Any,
    ) -> None:
        self.relearn = relearn
        self._to_come: list[str] = []  # stages after the current one
        super().__init__(model, args, task, train_dataset, eval_dataset, max_experience=max_experience, **kwargs)
        name_curves(self.callback_handler.callbacks, self._where)

    def _where(self) -> str:
        return "/".join(filter(None, [self.task, self.stage]))

    def _tellers(self) -> list[TrainerCallback]:
        bars = [] if self.args.disable_tqdm else [TrainingBar(lambda: f"{self.task}, {self.stage}")]
        lines = TrainingLines(self.task, self._elapsed, lambda: sum(map(self._steps_of, self._to_come)))
        return [StageTable(self.stage_table), lines, *bars]

    def _elapsed(self) -> float:
        """Seconds since the training began, those of an earlier run included."""
        return time.perf_counter() - self._began

    def stage_table(self) -> str:
        """What the current stage trains, as text."""
        return stage_table(self.model, self.task, self.stages, str(self.stage), self.opened, self._highest_rate)

    def _highest_rate(self, name: str) -> float:
        return self.args.learning_rate * self.rate(name)

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
        self._again |= self._config.stage == "complete"
        half_trained = self.task in self.model.beginnings
        self._greet(half_trained and not resume_from_checkpoint)
        if half_trained:
            self._put_beginning_back()
        self._base_sha256 = self.model.check_backbone(to_learn=True).sha256
        stages, checkpoint = self.stages, None
        if resume_from_checkpoint:
            checkpoint, stages = self._go_on_from(resume_from_checkpoint)
            self._tell_where(checkpoint)
        begun = checkpoint is not None
        self._check_room(self._worth_trying(stages, begun), checkpoint)
        self.model.beginnings.setdefault(self.task, Beginning.of(self.model, self.task, self._again))
        self._began = time.perf_counter() - self.seconds
        output = TrainOutput(0, float("nan"), {})
        with self._all_examples_afterwards():
            if checkpoint is None:
                self._begin()
                stages = self.stages
            else:
                self._reuse(checkpoint.experience(self.task))
                self._hold_out()
            self._to_come = self._worth_trying(stages, begun)
            while self._to_come:
                stage = self._to_come.pop(0)
                output = self._train_stage(stage, checkpoint, ignore_keys_for_eval=ignore_keys_for_eval)
                checkpoint = None
            self._end()
        self.seconds = time.perf_counter() - self._began
        self.model.set_stage(self.task, "complete")
        self.stage, self.args, self._base_sha256 = None, self.task_args, None
        self._tell(f"finished after {duration(self.seconds)}")
        if self.args.push_to_hub:
            self.publish()
        metrics = {f"{stage}/{name}": value for stage, m in self.stage_metrics.items() for name, value in m.items()}
        return TrainOutput(output.global_step, output.training_loss, metrics)

    def _train_stage(self, stage: str, checkpoint: Checkpoint | None, **kwargs: Any) -> TrainOutput:
        self._enter(stage)
        if checkpoint is not None:  # it also holds what an earlier stage trained, and this one must not
            self._load_from_checkpoint(str(checkpoint.path))
        self._remember(stage, checkpoint)
        screens = self._config.init_queries == "screened" and not self._again and self.args.recipe == "paper"
        with changing_only(self.model, self.task, stage):
            if stage == "experience" and checkpoint is None and screens:
                self.opened = open_useful(self.model, self.task, self.train_dataset, self.args.seed)
            if checkpoint is not None and checkpoint.has_ended(self.fingerprint):
                output = self._end_again(checkpoint)
            else:
                output = super().train(str(checkpoint.path) if checkpoint else None, **kwargs)
            odd = [
                key
                for key, value in self.model.base_model.task_tensors(self.task).items()
                if not value.isfinite().all()
            ]
            if odd:
                self._went_astray(f"step {self.state.global_step}: {odd[0]} is NaN or infinite")
            summary = stage_summary(output, self.state, self.args, self.spec.metric)
            self.stage_metrics[stage] = self.stage_metrics.get(stage, {}) | summary
            self._tell_best()
            self._decide(stage)
        return output

    def _tell_best(self) -> None:
        """Which state the stage ends with, if it is not the last."""
        best = self.state.best_global_step
        if self.args.load_best_model_at_end and best and best < self.state.global_step:
            name = str(self.args.metric_for_best_model).removeprefix("eval_")
            self._tell(f"takes the best state, {name} {self.state.best_metric:.3f} after step {best:,}")

    def _enter(self, stage: str) -> None:
        """Freeze and unfreeze for the stage, and forget the optimizer and wrapper of the stage before."""
        self.stage = stage
        self.args = self._stage_args(stage)
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
