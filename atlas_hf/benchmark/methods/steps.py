"""Equal lengths: every method trains a task for as many optimizer steps as ATLAS's two stages take together."""

from __future__ import annotations

from math import ceil

from atlas_hf.training.arguments import AtlasTrainingArguments


def epoch_steps(args: AtlasTrainingArguments, examples: int) -> int:
    """Optimizer steps of one pass over the examples, as Trainer counts them."""
    return ceil(ceil(examples / args.train_batch_size) / args.gradient_accumulation_steps)


def stage_steps(args: AtlasTrainingArguments, examples: int) -> tuple[int, int]:
    """Optimizer steps of ATLAS's two stages."""
    stages = [args.for_stage("task", stage) for stage in ("experience", "expansion")]
    first, second = (
        stage.max_steps if stage.max_steps > 0 else ceil(stage.num_train_epochs * epoch_steps(args, examples))
        for stage in stages
    )
    return first, second


def total_steps(args: AtlasTrainingArguments, examples: int) -> int:
    """Optimizer steps that every method trains a task: those of ATLAS's two stages together."""
    return sum(stage_steps(args, examples))
