"""What of the backbone trains, one task after another: all of it, its upper half, or nothing."""

from collections.abc import Iterator, Sequence

from torch import nn

from atlas_hf.benchmark.methods.base import PlainMethod
from atlas_hf.benchmark.methods.plain_model import LoadedTask
from atlas_hf.training import AtlasTrainingArguments
from atlas_hf.training.head_start import learn_head


class SequentialFT(PlainMethod):
    """All weights of the backbone and the new head (CLiMB's SeqFT): nothing holds back what earlier tasks learned."""

    name = "sequential_ft"
    summary = "the whole backbone, one task after another"
    rate = 0.02  # the best mean of those tried (docs/benchmark.md)


class FreezeEncoder(PlainMethod):
    """A probe: only the head trains (CLiMB's Frozen Encoder). It is the project's own head, with one hidden layer."""

    name = "freeze_encoder"
    summary = "the head alone"
    uses_order = False

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The head's."""
        return self.model.heads[task].parameters()


class HeadAlone(FreezeEncoder):
    """The same head, learned to its end as ATLAS's is: what a task without reuse and expansion comes to."""

    name = "head_alone"
    summary = "the head alone, learned to its end"

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """Nothing more is learned."""
        ((spec, data),) = tasks
        self.model.add_task(spec)
        self.unfreeze(self.trained_parameters(spec.name))
        learn_head(self.model, spec.name, data["train"], args)


class FreezeBottom(SequentialFT):
    """Embeddings and the lower half of each stack of layers stay; CLiMB's Frozen Bottom-K: 9 of ViLT's 12 layers."""

    name = "freeze_bottom"
    summary = "the upper half of the backbone, one task after another"

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """Of all parameters, those that are not in `bottom`."""
        frozen = {id(parameter) for module in self.bottom() for parameter in module.parameters()}
        return (parameter for parameter in super().trained_parameters(task) if id(parameter) not in frozen)

    def bottom(self) -> Iterator[nn.Module]:
        """What keeps its pretrained weights."""
        for name, module in self.model.backbone.named_modules():
            if name.rpartition(".")[2] == "embeddings":
                yield module
            if isinstance(module, nn.ModuleList):
                yield from module[: len(module) // 2]
