"""What `AtlasTrainer` adds to Trainer's callbacks: what a stage trains, and its bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from atlas_hf.tuner import PARTS, STAGES


class StageTable(TrainerCallback):
    """Prints what each stage trains, before it begins.

    Args:
        table: the text, for the stage that begins.
    """

    def __init__(self, table: Callable[[], str]) -> None:
        self.table = table

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Print the table, and where the stage goes on, in one process."""
        if state.is_world_process_zero:
            print(self.table(), flush=True)
            if state.global_step:
                print(f"  goes on after step {state.global_step} of {state.max_steps}", flush=True)


class StageProgress(ProgressCallback):
    """Trainer's progress bar, with a title in front.

    Args:
        title: the task and the stage that begins.
    """

    def __init__(self, title: Callable[[], str]) -> None:
        super().__init__()
        self.title = title

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Name the bar."""
        super().on_train_begin(*args, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(self.title())


def stage_table(
    model: nn.Module, task: str, stages: Sequence[str], stage: str, experience: Sequence[str], opened: Sequence[str]
) -> str:
    """What a stage trains, as text: parts, tensors, parameters.

    Args:
        model: in that stage.
        task: its name.
        stages: of the task, in order.
        stage: one of them.
        experience: the tasks that it reuses.
        opened: those of them that screening found useful.
    """
    reused = f", reuses {', '.join(experience)}" if experience else ""
    reused += f" (begins with {', '.join(opened)})" if opened else ""
    rows = [f"{task}: stage {stages.index(stage) + 1} of {len(stages)}, {STAGES[stage].title}{reused}"]
    rows.append(f"  {'trains':<30}{'tensors':>8}{'parameters':>12}")
    trained = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad}
    for part, (title, _) in PARTS.items():
        sizes = [size for name, size in trained.items() if f".{part}." in name]
        if sizes:
            rows.append(f"  {title:<30}{len(sizes):>8,}{sum(sizes):>12,}")
    total = sum(parameter.numel() for parameter in model.parameters())
    rows.append(f"  {'all':<30}{len(trained):>8,}{sum(trained.values()):>12,}  of {total:,}")
    return "\n".join(rows)
