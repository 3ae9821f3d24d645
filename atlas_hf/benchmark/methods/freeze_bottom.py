"""Sequential fine-tuning of the upper half of the backbone."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from atlas_hf.benchmark.methods.sequential_ft import SequentialFT


class FreezeBottom(SequentialFT):
    """The embeddings and the lower half of the layers keep their pretrained weights (CLiMB's Frozen Bottom-K).

    CLiMB freezes the lower 9 of ViLT's 12 layers, and trains the others one task after another, as here.
    """

    name = "freeze_bottom"
    summary = "the upper half of the backbone, one task after another"

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        frozen = {id(parameter) for module in bottom(self.model.backbone) for parameter in module.parameters()}
        return (parameter for parameter in super().trained_parameters(task) if id(parameter) not in frozen)


def bottom(backbone: nn.Module) -> Iterator[nn.Module]:
    """The embeddings and the lower half of each stack of layers."""
    for name, module in backbone.named_modules():
        if name.rpartition(".")[2] == "embeddings":
            yield module
        if isinstance(module, nn.ModuleList):
            yield from module[: len(module) // 2]
