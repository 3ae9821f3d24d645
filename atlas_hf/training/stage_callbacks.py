"""What `AtlasTrainer` adds to Trainer's callbacks: what a stage trains, its bar, and its best state's place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState

from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.checkpoints import find_best
from atlas_hf.tuner import PARTS, STAGES

if TYPE_CHECKING:
    from atlas_hf.training.trainer import AtlasTrainer


class StageTable(TrainerCallback):
    """Prints what each stage trains, before it begins."""

    def __init__(self, trainer: AtlasTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: AtlasTrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Print the table, and where the stage goes on, in one process."""
        if state.is_world_process_zero:
            print(stage_table(self.trainer), flush=True)
            if state.global_step:
                print(f"  goes on after step {state.global_step} of {state.max_steps}", flush=True)


class StageProgress(ProgressCallback):
    """Trainer's progress bar, with the task and stage in front."""

    def __init__(self, trainer: AtlasTrainer) -> None:
        super().__init__()
        self.trainer = trainer

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Name the bar."""
        super().on_train_begin(*args, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(f"{self.trainer.task}, {self.trainer.stage}")


class BestState(TrainerCallback):
    """Finds the best state of a stage that goes on in a folder that was moved."""

    def on_train_begin(
        self, args: AtlasTrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look for it among the stage's own checkpoints."""
        find_best(state, Path(args.output_dir))


def stage_table(trainer: AtlasTrainer) -> str:
    """What the current stage trains, as text: parts, tensors, parameters."""
    model, task, stages = trainer.model, trainer.task, trainer.stages
    experience = model.peft_config[task].experience
    reused = f", reuses {', '.join(experience)}" if experience else ""
    reused += f" (begins with {', '.join(trainer.opened)})" if trainer.opened else ""
    number, title = stages.index(trainer.stage) + 1, STAGES[trainer.stage].title
    rows = [f"{task}: stage {number} of {len(stages)}, {title}{reused}"]
    rows.append(f"  {'trains':<30}{'tensors':>8}{'parameters':>12}")
    trained = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad}
    for part, (label, _) in PARTS.items():
        sizes = [size for name, size in trained.items() if f".{part}." in name]
        if sizes:
            rows.append(f"  {label:<30}{len(sizes):>8,}{sum(sizes):>12,}")
    total = sum(parameter.numel() for parameter in model.parameters())
    rows.append(f"  {'all':<30}{len(trained):>8,}{sum(trained.values()):>12,}  of {total:,}")
    return "\n".join(rows)
