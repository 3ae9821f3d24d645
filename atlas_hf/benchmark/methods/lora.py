"""PEFT's LoRA, one adapter per task, with as many parameters as ATLAS's adapter."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from atlas_hf.benchmark.methods.plain import PlainMethod, PlainModel
from atlas_hf.benchmark.methods.sites import sites
from atlas_hf.tasks import TaskSpec


class LoraModel(PlainModel):
    """A `PlainModel` whose backbone holds a LoRA adapter per task, at ATLAS's sites."""

    def __init__(self, backbone: str, width: int) -> None:
        super().__init__(backbone)
        linear = sites(self.backbone)
        self.rank = equal_rank(list(linear.values()), width)
        self.paths = list(linear)

    def add_task(self, spec: TaskSpec) -> None:
        config = LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=self.paths)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several are meant
            self.backbone.add_adapter(config, spec.name)
        super().add_task(spec)

    def lora(self) -> Iterator[LoraLayer]:
        return (module for module in self.backbone.modules() if isinstance(module, LoraLayer))

    def pooled(self, task: str, **inputs: Any) -> Tensor:
        for layer in self.lora():
            if layer.active_adapters != [task]:
                layer.set_adapter(task, inference_mode=True)
        return super().pooled(task, **inputs)


class Lora(PlainMethod):
    """Hu et al. 2021: a low-rank update of the site's weight per task, and a head.

    Rates tried (one task, 1,000 examples of the digits stream, 128 steps, rate of the head 5e-3,
    validation; seed 0, on vqa seeds 0, 1, 2):

    | rate | entailment | vqa |
    |---|---|---|
    | 0.1 | 0.804 | 0.506, 0.520, 0.506 |
    | 0.3 | 0.856 | 0.710, 0.712, 0.694 |
    | 1 | 0.772 | 0.256, 0.093, 0.076 |
    | 2 | 0.750 | 0.049 |
    """

    name = "lora"
    summary = "an independent LoRA per task, as many parameters as an adapter"
    uses_order = False
    rate = 0.3

    def build(self) -> LoraModel:
        return LoraModel(self.setting.backbone, self.setting.width)

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        for layer in self.model.lora():
            yield from (layer.lora_A[task].weight, layer.lora_B[task].weight)
        yield from self.model.heads[task].parameters()


def equal_rank(linear: list[nn.Module], width: int) -> int:
    """The rank at which LoRA is nearest to bottlenecks of a width.

    A bottleneck has (2 out + 1) width + out parameters, LoRA (in + out) rank.
    """
    budget = sum((2 * site.out_features + 1) * width + site.out_features for site in linear)
    return max(1, round(budget / sum(site.in_features + site.out_features for site in linear)))
