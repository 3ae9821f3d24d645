"""PEFT's LoRA, one adapter per task, with as many parameters as ATLAS's adapter."""

import warnings
from collections.abc import Collection, Iterator
from typing import Any

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from atlas_hf.benchmark.methods.base import PlainMethod
from atlas_hf.benchmark.methods.plain_model import PlainModel, sites
from atlas_hf.tasks import TaskSpec


class LoraModel(PlainModel):
    """A `PlainModel` whose backbone holds a LoRA adapter per task, at ATLAS's sites."""

    def __init__(self, backbone: str, width: int, pooling: str | None = None) -> None:
        super().__init__(backbone, pooling)
        linear = sites(self.backbone)
        self.rank = equal_rank(linear.values(), width)
        self.paths = list(linear)

    def add_task(self, spec: TaskSpec) -> None:
        """A LoRA adapter and the head."""
        config = LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=self.paths)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several are meant
            self.backbone.add_adapter(config, spec.name)
        super().add_task(spec)

    def lora(self) -> Iterator[LoraLayer]:
        """The sites, with the adapters of all tasks."""
        return (module for module in self.backbone.modules() if isinstance(module, LoraLayer))

    def pooled(self, task: str, **inputs: Any) -> Tensor:
        """(rows, D), with the task's adapter active."""
        for layer in self.lora():
            if layer.active_adapters != [task]:
                layer.set_adapter(task, inference_mode=True)
        return super().pooled(task, **inputs)


class Lora(PlainMethod):
    """Hu et al. 2021: a low-rank update of the site's weight per task, and a head. Rates tried: docs/benchmark.md."""

    name = "lora"
    summary = "an independent LoRA per task, as many parameters as an adapter"
    uses_order = False
    rate = 0.3
    model: LoraModel

    def build(self) -> LoraModel:
        """With the rank for the setting's width."""
        return LoraModel(self.setting.backbone, self.setting.width, self.setting.pooling)

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The task's adapter and head."""
        for layer in self.model.lora():
            yield from (*layer.lora_A[task].parameters(), *layer.lora_B[task].parameters())
        yield from self.model.heads[task].parameters()


class LoraHeadFirst(Lora):
    """After the head was learned to its end, as ATLAS's is."""

    name = "lora_head_first"
    summary = "an independent LoRA per task, after its head was learned to its end"
    head_first = True


def equal_rank(linear: Collection[nn.Linear], width: int) -> int:
    """LoRA's rank, (in + out) parameters each, nearest to bottlenecks of (2 out + 1) width + out parameters."""
    budget = sum((2 * site.out_features + 1) * width + site.out_features for site in linear)
    return max(1, round(budget / sum(site.in_features + site.out_features for site in linear)))
