"""One task of a sequence: added to the model, trained through its stages, recorded."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path

from datasets import Dataset
from transformers import set_seed

from atlas_hf.folder import CHECKPOINTS, TaskResult
from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.recording import record
from atlas_hf.training.trainer import AtlasTrainer


def learn_task(
    model: AtlasModel,
    spec: TaskSpec,
    data: Mapping[str, Dataset],
    experience: Sequence[str],
    args: AtlasTrainingArguments,
    folder: Path,
) -> TaskResult:
    """Add a task and train it; it goes on from its last checkpoint if a run was interrupted.

    Args:
        model: holds the tasks of `experience`.
        spec, data: the task and its splits.
        experience: the earlier tasks to reuse.
        args: of the sequence.
        folder: of the sequence; checkpoints go into it.

    Returns:
        What is known of the task but for its role and score.
    """
    args = _arguments(args, folder)
    set_seed(args.seed)
    model.add_task(spec, experience)
    trainer = AtlasTrainer(model, args, spec.name, data["train"], data["validation"])
    checkpoint = None if args.save_only_model else trainer.last_checkpoint()
    if checkpoint is None and args.process_index == 0:  # those of a run that was killed
        shutil.rmtree(folder / CHECKPOINTS / spec.name, ignore_errors=True)
    trainer.train(str(checkpoint) if checkpoint else None)
    return record(trainer, data)


def _arguments(args: AtlasTrainingArguments, folder: Path) -> AtlasTrainingArguments:
    """A copy for the trainer: what is pushed are finished tasks, and checkpoints are there to go on from."""
    args = copy(args)
    args.output_dir, args.push_to_hub = str(folder / CHECKPOINTS), False
    args.save_only_model |= not _goes_on(args)
    args.restore_callback_states_from_checkpoint = True  # for early stopping
    return args


def _goes_on(args: AtlasTrainingArguments) -> bool:
    """Does a stage that was interrupted end with the same bytes if it goes on from a checkpoint?

    Not if an evaluation could fall between the checkpoint and the next step.
    """
    return args.world_size == 1 and args.save_strategy == args.eval_strategy and not args.eval_on_start
