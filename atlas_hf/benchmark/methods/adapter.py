"""Independent adapters: each task has its own and knows nothing of the others. The baseline that ATLAS has to beat."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import silu

from atlas_hf.benchmark.methods.base import PlainMethod, PlainTrainer, stage_steps
from atlas_hf.benchmark.methods.plain_model import LoadedTask, PlainModel, sites
from atlas_hf.tasks import TaskSpec
from atlas_hf.training import AtlasTrainingArguments
from atlas_hf.training.quiet import train_quietly


class Bottleneck(nn.Module):
    """`x + up(silu(down x))` (Houlsby et al. 2019), which begins as `x`: ATLAS's adapter with the coefficient 1."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(size, width), nn.Linear(width, size)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to the same."""
        return x + self.up(silu(self.down(x)))


class AdapterModel(PlainModel):
    """A `PlainModel` with a bottleneck per task at each site."""

    def __init__(self, backbone: str, width: int, pooling: str | None = None) -> None:
        super().__init__(backbone, pooling)
        self.width = width
        self.adapters = nn.ModuleDict()

    def add_task(self, spec: TaskSpec) -> None:
        """A bottleneck at each site, and the head."""
        adapters = (Bottleneck(site.out_features, self.width) for site in sites(self.backbone).values())
        self.adapters[spec.name] = nn.ModuleList(adapters).to(self.device)
        super().add_task(spec)

    def pooled(self, task: str, **inputs: Any) -> Tensor:
        """(rows, D), with the task's bottlenecks in place."""
        with ExitStack() as hooks:
            for site, adapter in zip(sites(self.backbone).values(), self.adapters[task].children(), strict=True):
                hook = site.register_forward_hook(lambda _site, _args, x, adapter=adapter: adapter(x))
                hooks.callback(hook.remove)
            return super().pooled(task, **inputs)


class Adapter(PlainMethod):
    """A plain bottleneck per task, of ATLAS's width and at its sites, and a head.

    A coefficient of 1, not about a half, takes a smaller rate than ATLAS's, but not in few steps (docs/benchmark.md).
    """

    name = "adapter"
    summary = "an independent adapter per task"
    uses_order = False
    rate, short_rate = 0.3, 1.0  # the second up to 100 steps
    model: AdapterModel

    def build(self) -> AdapterModel:
        """With bottlenecks of the setting's width."""
        return AdapterModel(self.setting.backbone, self.setting.width, self.setting.pooling)

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The task's bottlenecks and head."""
        yield from self.model.adapters[task].parameters()
        yield from self.model.heads[task].parameters()

    def rate_in(self, steps: int) -> float:
        """Few steps take the larger one."""
        return self.short_rate if steps <= 100 else self.rate


class AdapterHeadFirst(Adapter):
    """ATLAS's beginning without its reuse: the head to its end, then both."""

    name = "adapter_head_first"
    summary = "an independent adapter per task, after its head was learned to its end"
    head_first = True


class AdapterTwoStage(Adapter):
    """ATLAS's two stages, without its reuse: the head alone, then adapter and head (Kumar et al. 2022, LP-FT)."""

    name = "adapter_two_stage"
    summary = "an independent adapter per task, after its head"
    rate = 1.0

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """The head for as long as ATLAS's first stage, then both."""
        ((spec, data),) = tasks
        self.model.add_task(spec)
        trained = (self.model.heads[spec.name].parameters(), self.trained_parameters(spec.name))
        for parameters, length in zip(trained, stage_steps(args, len(data["train"])), strict=True):
            args.max_steps = length
            self.unfreeze(parameters)
            train_quietly(PlainTrainer(self, args, spec.name, data["train"]))
