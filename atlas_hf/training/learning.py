"""One task of a sequence: added to the model, trained through its stages, and what `results.json` says of it."""

import os
import platform
from collections.abc import Mapping, Sequence
from copy import copy
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from datasets import Dataset
from transformers import set_seed

from atlas_hf.data import batches
from atlas_hf.folder import CHECKPOINTS, MARK, TaskResult
from atlas_hf.model import AtlasModel, evaluating
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.checkpoints import remove_checkpoints
from atlas_hf.training.contributions import contributions
from atlas_hf.training.trainer import AtlasTrainer

COEFFICIENT_EXAMPLES = 256
TIMES = ("runtime", "per_second")  # metrics with these endings


def learn_task(
    model: AtlasModel,
    spec: TaskSpec,
    data: Mapping[str, Dataset],
    experience: Sequence[str],
    args: AtlasTrainingArguments,
    folder: Path,
    limit: int | None = None,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> TaskResult:
    """Add a task that may reuse `experience`, and train it, or go on from the checkpoint of an interrupted run.

    By evidence, it reuses at most `limit` of the experience. `changes` are the fields of its config that are not the
    model's. Without the split `validation` its last state counts. Returned is all that is known but its role, settings
    and score, with coefficients and contributions on the split `test` of its data.
    """
    args = _arguments(args, folder)
    set_seed(args.seed)
    by_evidence = args.recipe == "evidence"
    model.add_task(spec, () if by_evidence else experience, **changes)
    if by_evidence:  # added alone, so that what is drawn for it does not depend on what else there is
        model.base_model.begin_at(spec.name, experience)
    trainer = AtlasTrainer(model, args, spec.name, data["train"], data.get("validation"), max_experience=limit)
    checkpoint = None if args.save_only_model else trainer.last_checkpoint()
    if checkpoint is None and args.process_index == 0:  # those of a run that was killed
        if any((folder / CHECKPOINTS / spec.name).glob(f"*/checkpoint-*/{MARK}")):
            print(f"{spec.name}: begins anew; its checkpoints are of other settings, or of more or fewer examples")
        remove_checkpoints(folder, spec.name)
    trainer.train(str(checkpoint) if checkpoint else None)
    return _record(trainer, data)


def _arguments(args: AtlasTrainingArguments, folder: Path) -> AtlasTrainingArguments:
    """A copy for the trainer: what is pushed are finished tasks, and checkpoints are there to go on from."""
    args = copy(args)
    args.output_dir, args.push_to_hub = str(folder / CHECKPOINTS), False
    # A stage that goes on ends with the same bytes unless an evaluation could fall between checkpoint and next step.
    goes_on = args.world_size == 1 and args.save_strategy == args.eval_strategy and not args.eval_on_start
    args.save_only_model |= not goes_on
    args.restore_callback_states_from_checkpoint = True  # for early stopping
    return args


def _record(trainer: AtlasTrainer, data: Mapping[str, Dataset]) -> TaskResult:
    model, spec = trainer.model, trainer.spec
    timing: dict[str, Any] = {"seconds": trainer.seconds}
    stages: dict[str, dict[str, float]] = {}
    for stage, metrics in trainer.stage_metrics.items():
        timing[stage] = {name: value for name, value in metrics.items() if name.endswith(TIMES)}
        stages[stage] = {name: value for name, value in metrics.items() if not name.endswith(TIMES)}
    return TaskResult(
        name=spec.name,
        metric=spec.metric,
        random_baseline=spec.random_baseline,
        modality=spec.modality,
        problem_type=spec.problem_type,
        train_examples=len(data["train"]),
        experience=list(model.peft_config[spec.name].experience),
        opened=trainer.opened,
        sources={name: error for name, error in trainer.sources.items() if isfinite(error)},
        stages=stages,
        coefficients=mean_coefficients(model, spec.name, data["test"]),
        contributions=contributions(model, spec.name, data["test"]),
        parameters=model.count_parameters(spec.name),
        timing=timing,
    )


def mean_coefficients(
    model: AtlasModel, task: str, dataset: Dataset, batch_size: int = 64
) -> dict[str, dict[str, float]]:
    """Mean coefficient of each adapter that a task adds up, by site, over (at most 256) examples."""
    rows = dataset.select(range(min(len(dataset), COEFFICIENT_EXAMPLES)))
    share = 1 / (len(rows) * model.specs[task].rows_per_example)
    sums: dict[str, torch.Tensor] = {}
    with evaluating(model) as twin:
        for inputs in batches(rows, model.collator(task).inputs, batch_size, model.device):
            for site, values in twin.coefficients(task, **inputs).items():
                means = values.flatten(2).mean(2) if values.dim() == 3 else values
                sums[site] = sums.get(site, 0) + means.double().sum(0) * share
    return {site: dict(zip(model.members(task), total.tolist(), strict=True)) for site, total in sums.items()}


def environment() -> dict[str, Any]:
    """What the figures were measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {"device": device, "cpus": os.cpu_count(), "torch_threads": torch.get_num_threads()}
