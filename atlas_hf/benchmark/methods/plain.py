"""The model and the Trainer of the methods that are not ATLAS, and what these methods share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from atlas_hf.benchmark.methods.base import LoadedTask, Method, Setting, train_quietly
from atlas_hf.data.collator import AtlasCollator
from atlas_hf.model import BASE, AtlasModel, AtlasOutput
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.task_trainer import TaskTrainer
from atlas_hf.tuner.heads import build_head, head_arguments


@dataclass
class PlainOutput(AtlasOutput):
    """In training mode also `pooled`, (rows, D): what the head saw."""

    pooled: Tensor | None = None


class PlainModel(nn.Module):
    """A backbone and one of the project's heads per task; the method says what of it trains.

    The backbone is that of an `AtlasModel` without tasks, which pools it, knows its padding and its processor.

    Args:
        backbone: folder or id.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.bare = AtlasModel.from_pretrained(backbone)
        self.heads = nn.ModuleDict()
        self.specs: dict[str, TaskSpec] = {}
        self.task: str | None = None

    @property
    def backbone(self) -> nn.Module:
        return self.bare.get_base_model()

    @property
    def device(self) -> torch.device:
        return self.bare.device

    def add_task(self, spec: TaskSpec) -> None:
        """Add a head for the task, weights drawn from torch's global generator, and make the task the active one."""
        self.heads[spec.name] = build_head(**head_arguments(spec, self.bare.pooled_size)).to(self.device)
        self.specs[spec.name] = spec
        self.set_task(spec.name)

    def set_task(self, task: str) -> None:
        self.task = task

    def collator(self, task: str) -> AtlasCollator:
        return AtlasCollator(self.specs[task], self.bare.encoder)

    def pooled(self, task: str, **inputs: Any) -> Tensor:
        """The pooled vectors that the task's head sees, (rows, D)."""
        return self.bare.pooled(BASE, **inputs)

    def forward(self, task: str | None = None, labels: Tensor | None = None, **inputs: Any) -> PlainOutput:
        """Logits of a task (by default the active one), and its loss if labels are given."""
        task = task or self.task
        head, pooled = self.heads[task], self.pooled(task, **inputs)
        logits = head(pooled)
        loss = None if labels is None else head.loss(logits, labels)
        return PlainOutput(loss, logits, pooled if self.training else None)


class PlainTrainer(TaskTrainer):
    """Heads learn at `args.learning_rate`, what a method trains beside them at its own multiple of it."""

    def __init__(self, method: PlainMethod, *args: Any, **kwargs: Any) -> None:
        self.method = method
        super().__init__(*args, **kwargs)

    def rate(self, name: str) -> float:
        return 1 if name.startswith("heads.") else self.method.rate

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if model.training:
            loss = loss + self.method.extra_loss(inputs, outputs.pooled, self.state.global_step)
        return (loss, outputs) if return_outputs else loss


class PlainMethod(Method):
    """A method is what it trains (`trained_parameters`), and what it adds to the loss and does between tasks.

    Attributes:
        rate: the learning rate of everything but heads, as a multiple of `args.learning_rate`.
    """

    rate: ClassVar[float] = 1.0
    model: PlainModel

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.backbone_size = count(self.model.backbone)
        self.trained = 0

    def build(self) -> PlainModel:
        return PlainModel(self.setting.backbone)

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """What the task trains. By default the backbone and the task's head."""
        yield from self.model.backbone.parameters()
        yield from self.model.heads[task].parameters()

    def extra_loss(self, inputs: dict[str, Tensor], pooled: Tensor, step: int) -> Tensor | float:
        """What is added to the loss of a training batch."""
        return 0.0

    def after_task(self, spec: TaskSpec, data: Any, args: AtlasTrainingArguments) -> None:
        """What is done once a task is learned."""

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        ((spec, data),) = tasks
        self.model.add_task(spec)
        self.unfreeze(self.trained_parameters(spec.name))
        args.max_steps = steps
        train_quietly(PlainTrainer(self, self.model, args, spec.name, data["train"]))
        self.after_task(spec, data["train"], args)

    def unfreeze(self, parameters: Iterator[nn.Parameter]) -> None:
        """Let these parameters train, and nothing else."""
        self.model.requires_grad_(False)
        self.trained = 0
        for parameter in parameters:
            parameter.requires_grad_(True)
            self.trained += parameter.numel()

    def parameters(self) -> dict[str, int]:
        return {"trained": self.trained, "stored": count(self.model) - self.backbone_size}


def count(module: nn.Module) -> int:
    """How many parameters a module has."""
    return sum(parameter.numel() for parameter in module.parameters())
