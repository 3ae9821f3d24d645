"""What every method of the benchmark is: one backbone, and `learn`, `evaluate` and `fork`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import ClassVar

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from transformers import PrinterCallback, Trainer, set_seed

from atlas_hf.benchmark.methods.plain_model import PlainModel
from atlas_hf.benchmark.methods.steps import epoch_steps, total_steps
from atlas_hf.data import batches
from atlas_hf.model import AtlasModel, evaluating
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.stages import StageTable
from atlas_hf.training.task_trainer import score

LoadedTask = tuple[TaskSpec, DatasetDict]


@dataclass(frozen=True)
class Setting:
    """What all methods share.

    Args:
        backbone: folder or id of the pretrained backbone.
        width: of the adapters; LoRA's rank is the one with as many parameters.
        seed: of whatever a method draws before it learns.
    """

    backbone: str
    width: int
    seed: int = 0


@dataclass(frozen=True)
class Cost:
    """What learning took: wall time without any scoring, optimizer steps, training examples per second."""

    seconds: float
    steps: int
    samples_per_second: float


class Method(ABC):
    """A way to learn tasks one after another, all with the same Trainer, data, seeds, backbone and heads.

    Attributes:
        name: key in `METHODS`.
        summary: one line for the report.
        uses_order: whether the result of a task depends on the tasks learned before it.
        together: whether all tasks are learned in one call of `learn`.
        model: the backbone and the heads of the tasks so far.
        args: the settings of the last `learn`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    uses_order: ClassVar[bool] = True
    together: ClassVar[bool] = False
    model: AtlasModel | PlainModel
    args: AtlasTrainingArguments

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        set_seed(setting.seed)
        self.model = self.build()

    @abstractmethod
    def build(self) -> AtlasModel | PlainModel:
        """The model before the first task."""

    @abstractmethod
    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """Learn the tasks in that many optimizer steps."""

    @abstractmethod
    def parameters(self) -> dict[str, int]:
        """Numbers of parameters: `trained` with the last task, and `stored` for all tasks beside one backbone."""

    def learn(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments) -> Cost:
        """Learn one task, or all at once if `together`. Prints nothing and leaves no file.

        The same settings and seed give the same model, bit for bit (on a CPU).

        Raises:
            ValueError: for more than one task where only one can be learned at a time.
        """
        if len(tasks) != 1 and not self.together:
            raise ValueError(f"'{self.name}' learns one task at a time; {len(tasks)} were given. Call learn for each.")
        self.args = copy(args)
        sizes = [len(data["train"]) for _, data in tasks]
        steps = [total_steps(args, size) for size in sizes]
        rows = sum(size * n / epoch_steps(args, size) for size, n in zip(sizes, steps, strict=True))
        with quiet(args) as quiet_args:
            set_seed(args.seed)
            started = perf_counter()
            self.train(tasks, quiet_args, sum(steps))
            seconds = perf_counter() - started
        return Cost(seconds, sum(steps), rows / seconds)

    def evaluate(self, task: str, dataset: Dataset) -> float:
        """The task's metric on a split."""
        with quiet(self.args) as args:
            return score(self.model, task, dataset, args)

    def pooled(self, task: str, dataset: Dataset) -> np.ndarray:
        """What the task's head sees of a split: (examples x rows per example, D)."""
        collate, size = self.model.collator(task).inputs, self.args.per_device_eval_batch_size
        with torch.no_grad(), evaluating(self.model):
            loop = batches(dataset, collate, size, self.model.device)
            return torch.cat([self.model.pooled(task, **inputs).float().cpu() for inputs in loop]).numpy()

    def fork(self) -> Method:
        """A copy that learns on by itself."""
        return deepcopy(self)


@contextmanager
def quiet(args: AtlasTrainingArguments) -> Iterator[AtlasTrainingArguments]:
    """A copy of the settings for training alone: the last state counts, and the folder is gone afterwards."""
    args = copy(args)
    args.eval_strategy = args.save_strategy = args.logging_strategy = "no"
    args.load_best_model_at_end, args.early_stopping_patience, args.push_to_hub = False, None, False
    args.report_to, args.disable_tqdm = [], True
    with TemporaryDirectory() as folder:
        args.output_dir = folder
        yield args


def train_quietly(trainer: Trainer) -> None:
    """Train, and print nothing."""
    for printing in (PrinterCallback, StageTable):
        trainer.remove_callback(printing)
    trainer.train()
