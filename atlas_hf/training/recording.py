"""What `results.json` says of a learned task, and of the machine it was learned on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset

from atlas_hf.data import batches
from atlas_hf.folder import TaskResult
from atlas_hf.model import AtlasModel, evaluating
from atlas_hf.training.trainer import AtlasTrainer

COEFFICIENT_EXAMPLES = 256


def record(trainer: AtlasTrainer, data: Mapping[str, Dataset]) -> TaskResult:
    """All but the task's role and score.

    Args:
        trainer: has learned the task.
        data: the task's splits; coefficients are measured on `test`.
    """
    model, spec = trainer.model, trainer.spec
    timing: dict[str, Any] = {"seconds": trainer.seconds}
    stages: dict[str, dict[str, float]] = {}
    for stage, metrics in trainer.stage_metrics.items():
        timing[stage] = {name: value for name, value in metrics.items() if _is_time(name)}
        stages[stage] = {name: value for name, value in metrics.items() if not _is_time(name)}
    return TaskResult(
        name=spec.name,
        metric=spec.metric,
        random_baseline=spec.random_baseline,
        modality=spec.modality,
        problem_type=spec.problem_type,
        train_examples=len(data["train"]),
        experience=list(model.peft_config[spec.name].experience),
        opened=trainer.opened,
        stages=stages,
        parameters=model.count_parameters(spec.name),
        coefficients=mean_coefficients(model, spec.name, data["test"]),
        timing=timing,
    )


def _is_time(name: str) -> bool:
    return name.endswith(("runtime", "per_second"))


def mean_coefficients(
    model: AtlasModel, task: str, dataset: Dataset, batch_size: int = 64
) -> dict[str, dict[str, float]]:
    """Mean coefficient of each adapter that a task adds up, by site, over (at most 256) examples."""
    rows = dataset.select(range(min(len(dataset), COEFFICIENT_EXAMPLES)))
    share = 1 / (len(rows) * model.specs[task].rows_per_example)
    sums: dict[str, torch.Tensor] = {}
    with evaluating(model):
        for inputs in batches(rows, model.collator(task).inputs, batch_size, model.device):
            for site, values in model.coefficients(task, **inputs).items():
                means = values.flatten(2).mean(2) if values.dim() == 3 else values
                sums[site] = sums.get(site, 0) + means.double().sum(0) * share
    return {site: dict(zip(model.members(task), total.tolist(), strict=True)) for site, total in sums.items()}


def environment() -> dict[str, Any]:
    """What the figures were measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {"device": device, "cpus": os.cpu_count(), "torch_threads": torch.get_num_threads()}
