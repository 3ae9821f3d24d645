"""A probe: the pretrained backbone as it is, one head per task."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from atlas_hf.benchmark.methods.plain import PlainMethod


class FreezeEncoder(PlainMethod):
    """Only the head trains (CLiMB's Frozen Encoder). The head is the project's own, with one hidden layer."""

    name = "freeze_encoder"
    summary = "the head alone"
    uses_order = False

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        yield from self.model.heads[task].parameters()
