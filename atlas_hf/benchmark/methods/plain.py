"""What the methods that are not ATLAS share: a Trainer that takes what a method adds to the loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from datasets import Dataset
from torch import Tensor, nn

from atlas_hf.benchmark.methods.base import LoadedTask, Method, Setting, train_quietly
from atlas_hf.benchmark.methods.plain_model import PlainModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.task_trainer import TaskTrainer


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

    rate: float = 1.0
    model: PlainModel

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.backbone_size = count(self.model.backbone.parameters())
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

    def after_task(self, spec: TaskSpec, data: Dataset, args: AtlasTrainingArguments) -> None:
        """What is done once a task is learned."""

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        ((spec, data),) = tasks
        self.model.add_task(spec)
        self.unfreeze(self.trained_parameters(spec.name))
        args.max_steps = steps
        train_quietly(PlainTrainer(self, self.model, args, spec.name, data["train"]))
        self.after_task(spec, data["train"], args)

    def unfreeze(self, parameters: Iterable[nn.Parameter]) -> None:
        """Let these parameters train, and nothing else."""
        self.model.requires_grad_(False)
        for parameter in (chosen := list(parameters)):
            parameter.requires_grad_(True)
        self.trained = count(chosen)

    def batch(self, task: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Rows of a task's data set as `model` takes them, on its device."""
        return {name: tensor.to(self.model.device) for name, tensor in self.model.collator(task)(rows).items()}

    def parameters(self) -> dict[str, int]:
        return {"trained": self.trained, "stored": count(self.model.parameters()) - self.backbone_size}


def count(parameters: Iterable[nn.Parameter]) -> int:
    """How many numbers they are."""
    return sum(parameter.numel() for parameter in parameters)
