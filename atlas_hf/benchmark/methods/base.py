"""What every method of the benchmark is (`Method`), and what those that are not ATLAS share (`PlainMethod`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from torch import Tensor, nn
from transformers import set_seed

from atlas_hf.benchmark.methods.plain_model import LoadedTask, PlainModel
from atlas_hf.data import by_length
from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training import AtlasTrainingArguments, TaskTrainer, score
from atlas_hf.training.features import pooled_features
from atlas_hf.training.head_start import learn_head
from atlas_hf.training.quiet import quiet, train_quietly


@dataclass(frozen=True)
class Setting:
    """What all methods share."""

    backbone: str  # folder or id of the pretrained one
    width: int  # of the adapters; LoRA's rank is the one with as many parameters
    seed: int = 0  # of whatever a method draws before it learns
    pooling: str | None = None  # what heads read, of `AtlasConfig`


@dataclass(frozen=True)
class Cost:
    """What learning took: wall time without any scoring, optimizer steps, training examples per second.

    A method that learns heads first, or decides by evidence, takes fewer steps than these.
    """

    seconds: float
    steps: int
    samples_per_second: float


class Method(ABC):
    """A way to learn tasks one after another, all with the same Trainer, data, seeds, steps, backbone and heads."""

    name: ClassVar[str]  # key in `METHODS`
    summary: ClassVar[str]  # one line for the report
    uses_order: ClassVar[bool] = True  # does the result of a task depend on the tasks learned before it?
    together: ClassVar[bool] = False  # are all tasks learned in one call of `learn`?
    model: AtlasModel | PlainModel  # the backbone and the heads of the tasks so far
    args: AtlasTrainingArguments  # of the last `learn`

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.began_at: dict[str, list[str]] = {}  # of a method that chooses some: a task's, the most useful first
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
        """Learn one task, or all at once if `together`; a `ValueError` for several if not. Prints nothing, leaves no
        file. The same settings and seed give the same model, bit for bit (on a CPU).
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
            return score(self.model, task, dataset.select(by_length(dataset, self.model.specs[task])), args)

    def pooled(self, task: str, dataset: Dataset) -> np.ndarray:
        """What the task's head sees of a split: (examples x rows per example, D)."""
        return (
            pooled_features(self.model, task, dataset, self.args.per_device_eval_batch_size)[0].flatten(0, 1).numpy()
        )

    def fork(self) -> Method:
        """A copy that learns on by itself."""
        return deepcopy(self)


def epoch_steps(args: AtlasTrainingArguments, examples: int) -> int:
    """Optimizer steps of one pass over the examples, as Trainer counts them."""
    return ceil(ceil(examples / args.train_batch_size) / args.gradient_accumulation_steps)


def stage_steps(args: AtlasTrainingArguments, examples: int) -> list[int]:
    """Optimizer steps of ATLAS's two stages."""
    stages = [args.for_stage("task", stage) for stage in ("experience", "expansion")]
    epoch = epoch_steps(args, examples)
    return [stage.max_steps if stage.max_steps > 0 else ceil(stage.num_train_epochs * epoch) for stage in stages]


def total_steps(args: AtlasTrainingArguments, examples: int) -> int:
    """Optimizer steps that every method trains a task: those of ATLAS's two stages together."""
    return sum(stage_steps(args, examples))


class PlainTrainer(TaskTrainer):
    """Heads learn at `args.learning_rate`, what a method trains beside them at its own multiple of it."""

    def __init__(self, method: PlainMethod, *args: Any, **kwargs: Any) -> None:
        self.method = method
        super().__init__(method.model, *args, **kwargs)

    def rate(self, name: str) -> float:
        """The multiple for a parameter."""
        return 1 if name.startswith("heads.") else self.method.rate_in(self.args.max_steps)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The task's loss, and in training the method's own."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if model.training:
            loss = loss + self.method.extra_loss(inputs, outputs.pooled, self.state.global_step)
        return (loss, outputs) if return_outputs else loss


class PlainMethod(Method):
    """A method is what it trains (`trained_parameters`), and what it adds to the loss and does between tasks."""

    rate: ClassVar[float] = 1.0  # the learning rate of everything but heads, as a multiple of `args.learning_rate`
    # Is the head learned to its end before, on the bare backbone? The rest then takes the steps of the second stage.
    head_first: ClassVar[bool] = False
    all_heads: ClassVar[bool] = False  # do the heads of the other tasks train as well?
    model: PlainModel

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.backbone_size = count(self.model.backbone.parameters())
        self.trained = 0

    def build(self) -> PlainModel:
        """The pretrained backbone, without heads."""
        return PlainModel(self.setting.backbone, self.setting.pooling)

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """What the task trains. By default the backbone and the task's head."""
        yield from self.model.backbone.parameters()
        yield from (self.model.heads if self.all_heads else self.model.heads[task]).parameters()

    def rate_in(self, steps: int) -> float:
        """`rate`, or another one for so many steps."""
        return self.rate

    def extra_loss(self, inputs: dict[str, Tensor], pooled: Tensor, step: int) -> Tensor | float:
        """What is added to the loss of a training batch."""
        return 0.0

    def after_task(self, spec: TaskSpec, data: Dataset, args: AtlasTrainingArguments) -> None:
        """What is done once a task is learned."""

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """One task, in that many steps."""
        ((spec, data),) = tasks
        self.model.add_task(spec)
        if self.head_first:
            learn_head(self.model, spec.name, data["train"], args)
            steps = stage_steps(args, len(data["train"]))[1]
        self.unfreeze(self.trained_parameters(spec.name))
        args.max_steps = steps
        train_quietly(PlainTrainer(self, args, spec.name, data["train"]))
        self.after_task(spec, data["train"], args)

    def unfreeze(self, parameters: Iterable[nn.Parameter]) -> None:
        """Let these parameters train, and nothing else."""
        self.model.requires_grad_(False)
        for parameter in (chosen := list(parameters)):
            parameter.requires_grad_(True)
        self.trained = count(chosen)

    def parameters(self) -> dict[str, int]:
        """What the last `unfreeze` chose, and all but one backbone's number."""
        return {"trained": self.trained, "stored": count(self.model.parameters()) - self.backbone_size}


def count(parameters: Iterable[nn.Parameter]) -> int:
    """How many numbers they are."""
    return sum(parameter.numel() for parameter in parameters)
