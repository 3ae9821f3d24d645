"""`learn_sequence`: a stream of tasks, one after another, each finished task saved before the next begins."""

from __future__ import annotations

import logging
import os
import platform
import shutil
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import set_seed

from atlas_hf import hub
from atlas_hf.folder import CHECKPOINTS, DOWNSTREAM, UPSTREAM, Results, TaskResult
from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.model.prediction import evaluating
from atlas_hf.report.card import write_card
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.resuming import (
    Stream,
    prepare,
    resume,
    saying_what_is_safe,
    write_results,
)
from atlas_hf.training.screening import most_useful
from atlas_hf.training.task_trainer import evaluate_task
from atlas_hf.training.trainer import AtlasTrainer

logger = logging.getLogger(__name__)
SPLITS = ("train", "validation", "test")
COEFFICIENT_EXAMPLES = 256
# Settings that decide what is learned: a folder is gone on with only under the same.
_SETTINGS = (
    "seed", "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "weight_decay",
    "gradient_accumulation_steps", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "warmup_steps",
    "experience_learning_rate", "experience_num_train_epochs", "experience_max_steps", "query_lr_multiplier",
    "orthogonality_weight", "early_stopping_patience", "load_best_model_at_end", "bf16", "fp16",
)  # fmt: skip


def learn_sequence(
    model: AtlasModel,
    stream: Stream,
    args: AtlasTrainingArguments,
    output_dir: str | Path,
    downstream: Stream = (),
    reuse: bool = True,
    description: Mapping[str, Any] | None = None,
    max_experience: int | None = None,
) -> dict[str, Any]:
    """Learn the tasks of a stream in order, without losing any, and write everything to a folder.

    For each task: add it, its two stages, its row of the accuracy matrix, save. A finished task is never done again:
    called again with the same folder, the function goes on with the next task.

    Args:
        model: without tasks; those of the folder are loaded into it.
        stream: pairs of a `TaskSpec` and its splits `train`, `validation` and `test`.
        args: see `AtlasTrainingArguments`. Checkpoints go to a folder inside `output_dir`.
        output_dir: where the tasks, `atlas.json`, `results.json` and the plots go.
        downstream: tasks that each start from the model after `stream`, and do not reuse one another.
        reuse: False learns every task alone (no experience): the independent adapters to compare with.
        description: kept in `results.json` (for example where the data comes from).
        max_experience: reuse so many earlier tasks at most, those that suit the new one best
            (`atlas_hf.training.screening.most_useful`); None: all of them.

    With `args.push_to_hub`, access is checked before anything is trained, and every finished task is pushed to
    `args.hub_model_id`, one commit and one tag each. A push that fails costs nothing: the sequence goes on, and what
    is missing is pushed with the next task, or by `atlas-hf push`.

    Returns:
        What `results.json` holds.

    Raises:
        ValueError: bad data, or a folder with other tasks or settings. Nothing is lost: what was finished stays.
    """
    folder = Path(output_dir)
    for spec, data in [*stream, *downstream]:
        _check_splits(spec, data)
    main = args.process_index == 0
    repo_id = _repository(model, args) if main else None
    settings = {name: getattr(args, name) for name in _SETTINGS} | {"reuse": reuse, "max_experience": max_experience}
    settings |= {name: getattr(model.task_config, name) for name in ("variant", "weighting", "r", "init_queries")}
    settings |= {"processes": args.world_size}
    given = Results(settings=settings, description=dict(description or {}), environment=environment())
    if main:
        prepare(folder)
    results = resume(model, folder, [*stream, *downstream], given)
    if model.tasks and main:
        for task in model.tasks:  # a process that was killed after it had saved
            shutil.rmtree(folder / CHECKPOINTS / task, ignore_errors=True)
        with saying_what_is_safe(folder, "The results so far", model.tasks):
            write_results(results, folder)
            _publish(folder, model.tasks[-1], repo_id, args)
    upstream = [spec.name for spec, _ in stream]
    for position, (spec, data) in enumerate([*stream, *downstream]):
        if spec.name in model.specs:
            continue
        earlier = upstream[:position] if reuse else []
        if max_experience is not None:
            earlier = most_useful(model, spec, data["train"], max_experience, earlier, args.seed)
        with saying_what_is_safe(folder, f"Task '{spec.name}'", model.tasks):
            record = _learn(model, spec, data, earlier, args, folder)
            record.role = UPSTREAM if position < len(upstream) else DOWNSTREAM
            scored = stream[: position + 1] if position < len(upstream) else [(spec, data)]
            results.add(record, [_score(model, known, split["test"], args) for known, split in scored])
            model.metrics[spec.name] = {spec.metric: record.score, "random_baseline": spec.random_baseline}
            if main:
                _finish(model, spec, results, folder)
                _publish(folder, spec.name, repo_id, args)
    PartialState().wait_for_everyone()
    return results.to_dict()


def _check_splits(spec: TaskSpec, data: Mapping[str, Dataset]) -> None:
    missing = [split for split in SPLITS if split not in data]
    if missing:
        raise ValueError(f"Task '{spec.name}' lacks the split(s) {missing}; it has {list(data)}. Give {SPLITS}.")
    for split in SPLITS:
        spec.check_dataset(data[split], split)


def _learn(
    model: AtlasModel,
    spec: TaskSpec,
    data: Mapping[str, Dataset],
    experience: list[str],
    args: AtlasTrainingArguments,
    folder: Path,
) -> TaskResult:
    """Both stages of one task; what `results.json` says of it."""
    args = copy(args)
    args.output_dir, args.push_to_hub = str(folder / CHECKPOINTS), False
    args.save_only_model |= not _goes_on(args)
    args.restore_callback_states_from_checkpoint = True  # for early stopping
    set_seed(args.seed)
    model.add_task(spec, experience)
    trainer = AtlasTrainer(model, args, spec.name, data["train"], data["validation"])
    checkpoint = None if args.save_only_model else trainer.last_checkpoint()
    if checkpoint is None and args.process_index == 0:  # those of a run that was killed
        shutil.rmtree(folder / CHECKPOINTS / spec.name, ignore_errors=True)
    trainer.train(checkpoint and str(checkpoint))
    timing: dict[str, Any] = {"seconds": trainer.seconds}
    for stage, metrics in trainer.stage_metrics.items():
        timing[stage] = {name: metrics.pop(name) for name in list(metrics) if name.endswith(("runtime", "per_second"))}
    return TaskResult(
        name=spec.name,
        metric=spec.metric,
        random_baseline=spec.random_baseline,
        modality=spec.modality,
        problem_type=spec.problem_type,
        train_examples=len(data["train"]),
        experience=experience,
        opened=trainer.opened,
        stages=trainer.stage_metrics,
        parameters=model.count_parameters(spec.name),
        coefficients=mean_coefficients(model, spec.name, data["test"]),
        timing=timing,
    )


def _goes_on(args: AtlasTrainingArguments) -> bool:
    """Does a stage that was interrupted end with the same bytes if it goes on from a checkpoint?

    Not if an evaluation could fall between the checkpoint and the next step.
    """
    return args.world_size == 1 and args.save_strategy == args.eval_strategy and not args.eval_on_start


def _score(model: AtlasModel, spec: TaskSpec, dataset: Dataset, args: AtlasTrainingArguments) -> float:
    return evaluate_task(model, spec.name, dataset, args)[spec.metric]


def mean_coefficients(
    model: AtlasModel, task: str, dataset: Dataset, batch_size: int = 64
) -> dict[str, dict[str, float]]:
    """Mean coefficient of each adapter that a task adds up, by site, over (at most 256) examples."""
    collate, members = model.collator(task), model.members(task)
    rows = dataset.select(range(min(len(dataset), COEFFICIENT_EXAMPLES)))
    share = 1 / (len(rows) * model.specs[task].rows_per_example)
    sums: dict[str, torch.Tensor] = {}
    with evaluating(model):
        for start in range(0, len(rows), batch_size):
            inputs = collate.inputs([rows[i] for i in range(start, min(start + batch_size, len(rows)))])
            found = model.coefficients(task, **{name: tensor.to(model.device) for name, tensor in inputs.items()})
            for site, values in found.items():
                values = values.flatten(2).mean(2) if values.dim() == 3 else values
                sums[site] = sums.get(site, 0) + values.double().sum(0) * share
    return {site: dict(zip(members, total.tolist(), strict=True)) for site, total in sums.items()}


def _finish(model: AtlasModel, spec: TaskSpec, results: Results, folder: Path) -> None:
    """Save; the task counts as learned from the moment that `atlas.json` names it, which is written last."""
    write_results(results, folder)
    model.save_pretrained(folder, tasks=[spec.name])
    shutil.rmtree(folder / CHECKPOINTS / spec.name, ignore_errors=True)


def _repository(model: AtlasModel, args: AtlasTrainingArguments) -> str | None:
    """The full name of the repository to push to, if any, once it is sure that the token may write to it."""
    if not args.push_to_hub:
        return None
    if not args.hub_model_id:
        raise ValueError("push_to_hub needs hub_model_id: the repository to push to, for example 'me/my-atlas'.")
    model.check_pushable()
    return hub.check_access(args.hub_model_id, private=args.hub_private_repo, token=args.hub_token)


def _publish(folder: Path, task: str, repo_id: str | None, args: AtlasTrainingArguments) -> None:
    """Write the card, keep this state for its commit, and push what is not on the Hub yet."""
    write_card(folder, repo_id)
    hub.snapshot(folder, task)
    if repo_id is None:
        return
    try:
        hub.push(folder, repo_id, private=args.hub_private_repo, token=args.hub_token)
    except (hub.HubError, ValueError) as error:
        logger.warning(
            "Task '%s' is learned and saved in %s, but was not pushed to %s: %s It is pushed with the next task, or "
            "with `atlas-hf push %s %s`.", task, folder, repo_id, error, folder, repo_id,
        )  # fmt: skip


def environment() -> dict[str, Any]:
    """What the figures were measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {"device": device, "cpus": os.cpu_count(), "torch_threads": torch.get_num_threads()}
