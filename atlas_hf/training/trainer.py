"""`AtlasTrainer`: learns one task in its two stages."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, ProgressCallback, TrainerCallback, TrainerState, set_seed
from transformers.trainer_utils import TrainOutput

from atlas_hf.folder import CONFIG, WEIGHTS, read_json, tensor_bytes
from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.checkpoints import CheckpointMixin, progress_of
from atlas_hf.training.divergence import check_loss
from atlas_hf.training.screening import open_useful
from atlas_hf.training.task_trainer import TaskTrainer
from atlas_hf.tuner import PARTS, STAGES, part_and_task


class AtlasTrainer(CheckpointMixin, TaskTrainer):
    """Trains a task of an `AtlasModel`: experience-based learning, if it reuses others, then its own adapter.

    Each stage has its own optimizer, schedule, length and learning rate, evaluation, best state and early stopping,
    and is checked to have changed nothing but what it trains.

    Args:
        model: holds the task already (`model.add_task`).
        args: see `AtlasTrainingArguments`.
        task: the task's name; by default the model's active task.
        train_dataset, eval_dataset: with the columns that the task's `TaskSpec` names. Without `eval_dataset` a stage
            ends with its last state.
        kwargs: further arguments of `Trainer`, but for an optimizer (each stage makes its own).

    Attributes:
        stage: the current one, while `train` runs.
        stage_metrics: what each finished stage came to.
        opened: the earlier tasks that the screening found useful (`AtlasConfig.init_queries`).
        seconds: what the stages took so far, that of an earlier run included that `train` goes on from.
    """

    def __init__(
        self,
        model: AtlasModel,
        args: AtlasTrainingArguments,
        task: str | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | None = None,
        **kwargs: Any,
    ) -> None:
        if "optimizers" in kwargs or "optimizer_cls_and_kwargs" in kwargs:
            raise ValueError("Each stage makes its own optimizer; choose it with args.optim and its settings.")
        self.stage: str | None = None
        self.stage_metrics: dict[str, dict[str, float]] = {}
        self.opened: list[str] = []
        self.seconds = 0.0
        super().__init__(model, args, task, train_dataset, eval_dataset, **kwargs)
        self.add_callback(StageTable(self))
        if not self.args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(StageProgress(self))
        self.task_args = self.args

    @property
    def stages(self) -> list[str]:
        """The stages of this task, in order."""
        return (["experience"] if self.model.peft_config[self.task].experience else []) + ["expansion"]

    def train(self, resume_from_checkpoint: str | None = None, **kwargs: Any) -> TrainOutput:
        """Run the stages; the task is complete, and frozen, afterwards.

        Args:
            resume_from_checkpoint: a checkpoint of one of the stages: earlier stages are skipped, this one goes on.
                Without `args.save_only_model`, one process ends with the bytes of a training in one go.

        Returns:
            Steps and loss of the last stage, with the metrics of every stage.

        Raises:
            FloatingPointError: the loss is NaN or infinite.
        """
        stages, checkpoint = self.stages, None
        if resume_from_checkpoint:
            checkpoint = str(resume_from_checkpoint)
            stages = stages[stages.index(self._stage_of(checkpoint)) :]
            self._recall(progress_of(Path(checkpoint)))
        self._began = time.perf_counter() - self.seconds
        for stage in stages:
            output = self._train_stage(stage, checkpoint, **kwargs)
            checkpoint = None
        self.seconds = time.perf_counter() - self._began
        self.model.set_stage(self.task, "complete")
        self.stage, self.args = None, self.task_args
        metrics = {f"{stage}/{name}": value for stage, m in self.stage_metrics.items() for name, value in m.items()}
        return TrainOutput(output.global_step, output.training_loss, metrics)

    def _train_stage(self, stage: str, checkpoint: str | None, **kwargs: Any) -> TrainOutput:
        self._enter(stage)
        if checkpoint is not None:  # it also holds what an earlier stage trained, and this one must not
            self._load_from_checkpoint(checkpoint)
        frozen = self._check_trainable()
        before = {name: _digest(tensor) for name, tensor in frozen.items()}
        if stage == "experience" and checkpoint is None and self._screens:
            self.opened = open_useful(self.model, self.task, self.train_dataset, self.args.seed)
        if checkpoint is not None and self._has_ended(Path(checkpoint)):
            output = self._end_again(checkpoint)
        else:
            output = super().train(resume_from_checkpoint=checkpoint, **kwargs)
        moved = [name for name, tensor in self._frozen().items() if _digest(tensor) != before.get(name)]
        if moved:
            raise RuntimeError(f"Stage '{stage}' of task '{self.task}' changed what it must not train: {moved[:5]}.")
        self.stage_metrics[stage] = self._summary(output)
        return output

    @property
    def _screens(self) -> bool:
        """Is there anything to choose the first queries by?"""
        return self.model.peft_config[self.task].init_queries == "screened" and self.train_dataset is not None

    def _enter(self, stage: str) -> None:
        """Freeze and unfreeze for the stage, and forget the optimizer and wrapper of the stage before."""
        self.stage = stage
        self.args = self.task_args.for_stage(self.task, stage)
        self.args.save_total_limit = None  # see _save_checkpoint
        self.model.set_stage(self.task, stage)
        self.model_wrapped = self.model
        self.optimizer, self.lr_scheduler = None, None
        self.remove_callback(EarlyStoppingCallback)
        if self.args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(self.args.early_stopping_patience))
        set_seed(self.args.seed)

    def _summary(self, output: TrainOutput) -> dict[str, float]:
        names = ("train_runtime", "train_samples_per_second")
        summary = {name: float(output.metrics[name]) for name in names if name in output.metrics}
        best = {} if self.state.best_metric is None else {f"best_{self.spec.metric}": float(self.state.best_metric)}
        return summary | {"steps": output.global_step} | best

    # What trains ---------------------------------------------------------------------------------------------------

    def _frozen(self) -> dict[str, Tensor]:
        trained = {name for name, p in self.model.named_parameters() if p.requires_grad}
        return {name: tensor for name, tensor in self.model.state_dict().items() if name not in trained}

    def _check_trainable(self) -> dict[str, Tensor]:
        """The tensors that this stage must not touch. A stray trainable one is an error that names it."""
        trainable = [name for name, p in self.model.named_parameters() if p.requires_grad]
        wanted = STAGES[self.stage].trained
        stray = [name for name in trainable if part_and_task(name) not in {(part, self.task) for part in wanted}]
        if stray:
            raise RuntimeError(
                f"Stage '{self.stage}' of task '{self.task}' would train {stray[:5]}, which it must not: only "
                f"{', '.join(PARTS[part].title for part in wanted)} of '{self.task}'. Freeze it: "
                "parameter.requires_grad_(False)."
            )
        return self._frozen()

    def stage_table(self) -> str:
        """What the current stage trains, as text: parts, tensors, parameters."""
        experience = self.model.peft_config[self.task].experience
        number, title = self.stages.index(self.stage) + 1, STAGES[self.stage].title
        reused = f", reuses {', '.join(experience)}" if experience else ""
        reused += f" (begins with {', '.join(self.opened)})" if self.opened else ""
        rows = [f"{self.task}: stage {number} of {len(self.stages)}, {title}{reused}"]
        rows.append(f"  {'trains':<30}{'tensors':>8}{'parameters':>12}")
        trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        for part, (title, _) in PARTS.items():
            sizes = [p.numel() for n, p in trained.items() if f".{part}." in n]
            if sizes:
                rows.append(f"  {title:<30}{len(sizes):>8,}{sum(sizes):>12,}")
        total = sum(p.numel() for p in self.model.parameters())
        count = sum(p.numel() for p in trained.values())
        rows.append(f"  {'all':<30}{len(trained):>8,}{count:>12,}  of {total:,}")
        return "\n".join(rows)

    # Trainer's hooks -----------------------------------------------------------------------------------------------

    def rate(self, name: str) -> float:
        return self.args.query_lr_multiplier if ".atlas_experience_query." in name else 1

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if model.training and self.args.orthogonality_weight:
            loss = loss + self.args.orthogonality_weight * self.model.base_model.orthogonality(self.task)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        check_loss(loss, self.task, self.stage, self.state.global_step + 1, Path(self.args.output_dir))
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Name the task and stage in every key, so that the stages do not share a curve in a tracker."""
        where = "/".join(filter(None, [self.task, self.stage]))
        named = {}
        for name, value in logs.items():
            prefix = "eval_" if name.startswith("eval_") else ""
            named[name if name == "epoch" else f"{prefix}{where}/{name.removeprefix('eval_')}"] = value
        if "loss" in logs and self.args.orthogonality_weight:
            with torch.no_grad():
                named[f"{where}/orthogonality"] = self.model.base_model.orthogonality(self.task).item()
        super().log(named, *args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint holds the task that trains, in a folder of its name, with its stage in the config."""
        if self.args.should_save:
            self.model.save_adapter(self.task, Path(output_dir or self.args.output_dir))

    def _stage_of(self, checkpoint: str) -> str:
        """Which stage of this task a checkpoint belongs to; an error for another task's."""
        folder = Path(checkpoint) / self.task
        if not folder.is_dir():
            held = sorted(p.parent.name for p in Path(checkpoint).glob(f"*/{WEIGHTS}"))
            raise ValueError(f"{checkpoint} is a checkpoint of {held or 'nothing'}, not of task '{self.task}'.")
        return read_json(folder / CONFIG)["stage"]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        stage = self._stage_of(resume_from_checkpoint)
        if stage != self.stage:
            raise ValueError(
                f"{resume_from_checkpoint} is a checkpoint of stage '{stage}'; task '{self.task}' is in stage "
                f"'{self.stage}'. Resume from one of this stage."
            )
        weights = load_file(Path(resume_from_checkpoint) / self.task / WEIGHTS)
        set_peft_model_state_dict(self.model, weights, adapter_name=self.task)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)


class StageTable(TrainerCallback):
    """Prints what each stage trains, before it begins."""

    def __init__(self, trainer: AtlasTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: AtlasTrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        if state.is_world_process_zero:
            print(self.trainer.stage_table(), flush=True)
            if state.global_step:
                print(f"  goes on after step {state.global_step} of {state.max_steps}", flush=True)


class StageProgress(ProgressCallback):
    """Trainer's progress bar, with the task and stage in front."""

    def __init__(self, trainer: AtlasTrainer) -> None:
        super().__init__()
        self.trainer = trainer

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        super().on_train_begin(*args, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(f"{self.trainer.task}, {self.trainer.stage}")


def _digest(tensor: Tensor) -> bytes:
    return hashlib.blake2b(tensor_bytes(tensor), digest_size=16).digest()
