"""What a stage trains: told before it begins, and proven after it: its own parts of its task, and nothing else."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_utils import TrainOutput

from atlas_hf.folder import tensor_bytes
from atlas_hf.model import AtlasModel
from atlas_hf.training.console import tell
from atlas_hf.tuner import PARTS, STAGES, part_and_task

_ROW = 4096  # words whose sum is one number of a digest


class StageTable(TrainerCallback):
    """Prints what each stage trains, before it begins: the text that `table` gives then."""

    def __init__(self, table: Callable[[], str]) -> None:
        self.table = table

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Print the table, and where the stage goes on, in one process."""
        if state.is_world_process_zero:
            batch = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
            tell(f"{self.table()}\n  {state.max_steps:,} steps of {batch:,} examples")
            if state.global_step:
                tell(f"  goes on after step {state.global_step:,}; the steps before are not repeated")


class StagePatience(EarlyStoppingCallback):
    """`early_stopping_patience`; a class of its own, as Trainer keeps the state of one callback of each class."""


def begin_stage(callbacks: Sequence[TrainerCallback]) -> None:
    """Early stopping, the user's own included, counts anew in each stage."""
    for callback in callbacks:
        if isinstance(callback, EarlyStoppingCallback):
            callback.early_stopping_patience_counter = 0


def name_curves(callbacks: Sequence[TrainerCallback], where: Callable[[], str]) -> None:
    """Let trackers see `where`, the task and the stage, in every key, so that two stages do not share a curve.

    Other callbacks and `log_history` see the keys of Trainer: `loss`, `eval_accuracy`.
    """
    for callback in callbacks:
        if isinstance(callback, tuple(INTEGRATION_TO_CALLBACK.values())) and "on_log" not in vars(callback):
            callback.on_log = _naming(callback.on_log, where)  # type: ignore[method-assign]


def _naming(on_log: Callable[..., Any], where: Callable[[], str]) -> Callable[..., Any]:
    def named(
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> Any:
        renamed = {}
        for name, value in (logs or {}).items():
            prefix = "eval_" if name.startswith("eval_") else ""
            renamed[name if name == "epoch" else f"{prefix}{where()}/{name.removeprefix('eval_')}"] = value
        return on_log(args, state, control, logs=renamed, **kwargs)

    return named


def stage_table(
    model: AtlasModel,
    task: str,
    stages: Sequence[str],
    stage: str,
    opened: Sequence[str],
    rate: Callable[[str], float],
) -> str:
    """What a stage trains, as text: parts, tensors, parameters, and the highest learning rate of each.

    The model is in that stage, one of the task's `stages`. `opened` are the reused tasks that screening found useful.
    `rate` gives the learning rate of a parameter of this name.
    """
    experience = model.peft_config[task].experience
    reused = f", reuses {', '.join(experience)}" if experience else ""
    reused += f" (a probe found useful: {', '.join(opened)})" if opened and {*opened} != {*experience} else ""
    rows = [f"{task}: stage {stages.index(stage) + 1} of {len(stages)}, {STAGES[stage].title}{reused}"]
    rows.append(f"  {'trains':<30}{'tensors':>8}{'parameters':>12}{'learning rate':>15}")
    trained = {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad}
    for part, (title, _) in PARTS.items():
        sizes = {name: size for name, size in trained.items() if f".{part}." in name}
        if sizes:
            rates = ", ".join(f"{one:.3g}" for one in sorted({rate(name) for name in sizes}))
            rows.append(f"  {title:<30}{len(sizes):>8,}{sum(sizes.values()):>12,}{rates:>15}")
    total = sum(parameter.numel() for parameter in model.parameters())
    rows.append(f"  {'all':<30}{len(trained):>8,}{sum(trained.values()):>12,}  of {total:,}")
    return "\n".join(rows)


def stage_summary(output: TrainOutput, state: TrainerState, args: TrainingArguments, metric: str) -> dict[str, float]:
    """What a stage came to: time, steps, the best value, and the task's own `metric` of the state that had it."""
    names = ("train_runtime", "train_samples_per_second")
    summary = {name: float(output.metrics[name]) for name in names if name in output.metrics}
    summary["steps"] = output.global_step
    if state.best_metric is not None and isfinite(state.best_metric):
        own, best = f"eval_{metric}", str(args.metric_for_best_model).removeprefix("eval_")
        log = [entry for entry in state.log_history if entry["step"] == state.best_global_step]
        summary |= {f"best_{metric}": float(entry[own]) for entry in log if own in entry}
        summary[f"best_{best}"] = float(state.best_metric)
    return summary


def mean_loss(state: TrainerState) -> float:
    """Of a training's steps, as Trainer returns it, from what was logged; NaN if nothing was."""
    total, before = 0.0, 0.0
    for entry in state.log_history:
        if "loss" in entry:
            total, before = total + entry["loss"] * (entry["step"] - before), entry["step"]
    return total / before if before else float("nan")


@contextmanager
def changing_only(model: nn.Module, task: str, stage: str) -> Iterator[None]:
    """What does not train in this stage has the same bits after the block as before it.

    Raises a `RuntimeError` that names what would train, or has changed, but for the task's parts that `STAGES` names.
    """
    wanted = STAGES[stage].trained
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    stray = [name for name in trainable if part_and_task(name) not in {(part, task) for part in wanted}]
    if stray:
        raise RuntimeError(
            f"Stage '{stage}' of task '{task}' would train {stray[:5]}, which it must not: only "
            f"{', '.join(PARTS[part].title for part in wanted)} of '{task}'. Freeze it: "
            "parameter.requires_grad_(False)."
        )
    before = _digests(model)
    yield
    moved = [name for name, digest in _digests(model).items() if digest != before.get(name)]
    if moved:
        raise RuntimeError(f"Stage '{stage}' of task '{task}' changed what it must not train: {moved[:5]}.")


def _digests(model: nn.Module) -> dict[str, bytes]:
    """Of every tensor that does not train, buffers included."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: digest(tensor) for name, tensor in model.state_dict().items() if name not in trained}


def digest(tensor: Tensor) -> bytes:
    """Of a tensor's bits, taken where the tensor lies: a backbone is read at the speed of its memory, and not copied.

    The bits are read as words of 64, in rows of 4096, and added up modulo 2^64 by row and by column; only the sums are
    hashed. A change that they miss has to even out in every row and column at once: it would be no accident.
    """
    data = tensor.detach().contiguous().flatten()
    if data.storage_offset() * data.element_size() % 8:
        data = data.clone()  # cannot be read as words where it lies
    data = data.view(torch.uint8)
    whole = len(data) - len(data) % (8 * _ROW)
    words = data[:whole].view(torch.int64).view(-1, _ROW)
    found = hashlib.blake2b(digest_size=16)
    for part in (words.sum(0), words.sum(1), data[whole:]):
        found.update(tensor_bytes(part))
    return found.digest()
