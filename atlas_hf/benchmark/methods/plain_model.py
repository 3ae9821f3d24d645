"""The model of the methods that are not ATLAS: one backbone that may train, and a head per task."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from datasets import DatasetDict
from peft.tuners.tuners_utils import check_target_module_exists
from torch import Tensor, nn
from transformers import PreTrainedModel

from atlas_hf.data import AtlasCollator
from atlas_hf.model import BASE, AtlasModel, AtlasOutput
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import TARGET_MODULES, AtlasConfig, Head, build_head, head_arguments

LoadedTask = tuple[TaskSpec, DatasetDict]


@dataclass
class PlainOutput(AtlasOutput):
    """In training mode also `pooled`, (rows, D): what the head saw."""

    pooled: Tensor | None = None


class PlainModel(nn.Module):
    """A backbone (a folder or an id) and one of the project's heads per task, with what `TaskTrainer` asks of a model.

    An `AtlasModel` keeps its backbone frozen; one without tasks, `bare`, pools it, and knows padding and processor.
    """

    def __init__(self, backbone: str, pooling: str | None = None) -> None:
        super().__init__()
        self.bare = AtlasModel.from_pretrained(backbone, config=AtlasConfig(pooling=pooling))
        self.heads = nn.ModuleDict()
        self.specs: dict[str, TaskSpec] = {}  # the tasks so far
        self.task = ""  # the active one

    @property
    def backbone(self) -> PreTrainedModel:
        """As transformers made it."""
        return self.bare.get_base_model()

    @property
    def device(self) -> torch.device:
        """The backbone's."""
        return self.bare.device

    def add_task(self, spec: TaskSpec) -> None:
        """Add a head for the task, weights drawn from torch's global generator, and make the task the active one."""
        arguments: dict[str, Any] = head_arguments(spec, self.bare.pooled_size)
        self.heads[spec.name] = build_head(**arguments).to(self.device)
        self.specs[spec.name] = spec
        self.set_task(spec.name)

    def set_task(self, task: str) -> None:
        """Make a task the active one."""
        self.task = task

    def head(self, task: str) -> Head:
        """Of pooled vectors."""
        return cast(Head, self.heads[task])

    def collator(self, task: str) -> AtlasCollator:
        """Examples of the task to a batch."""
        return AtlasCollator(self.specs[task], self.bare.preprocessor)

    def pooled(self, task: str, **inputs: Any) -> Tensor:
        """What the task's head sees, (rows, D)."""
        return self.bare.pooled(BASE, **inputs)

    def forward(self, *, task: str | None = None, labels: Tensor | None = None, **inputs: Any) -> PlainOutput:
        """Logits of a task (by default the active one), and its loss if labels are given."""
        head, pooled = self.head(task or self.task), self.pooled(task or self.task, **inputs)
        logits = head(pooled)
        loss = None if labels is None else head.loss(logits, labels)
        return PlainOutput(loss, logits, pooled if self.training else None)


def sites(backbone: PreTrainedModel) -> dict[str, nn.Linear]:
    """The linear modules that ATLAS adapts by default, by path and in the order of the backbone."""
    config = AtlasConfig(target_modules=TARGET_MODULES[backbone.config.model_type])
    linear = ((path, module) for path, module in backbone.named_modules() if isinstance(module, nn.Linear))
    return {path: module for path, module in linear if check_target_module_exists(config, path)}
