"""Independent adapters: each task has its own and knows nothing of the others. The baseline that ATLAS has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import silu

from atlas_hf.benchmark.methods.base import LoadedTask
from atlas_hf.benchmark.methods.plain import PlainMethod, PlainModel
from atlas_hf.benchmark.methods.sites import sites
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments

SHORT = 100  # steps


class Bottleneck(nn.Module):
    """`x + up(silu(down x))` (Houlsby et al. 2019), which begins as `x`: ATLAS's adapter with the coefficient 1."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(size, width), nn.Linear(width, size)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(silu(self.down(x)))

    def hook(self, site: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """As a forward hook of the site."""
        return self(output)


class AdapterModel(PlainModel):
    """A `PlainModel` with a bottleneck per task at each site."""

    def __init__(self, backbone: str, width: int) -> None:
        super().__init__(backbone)
        self.width = width
        self.adapters = nn.ModuleDict()

    def add_task(self, spec: TaskSpec) -> None:
        widths = [site.out_features for site in sites(self.backbone).values()]
        self.adapters[spec.name] = nn.ModuleList(Bottleneck(size, self.width) for size in widths).to(self.device)
        super().add_task(spec)

    def pooled(self, task: str, **inputs: Any) -> Tensor:
        with ExitStack() as stack:
            for site, adapter in zip(sites(self.backbone).values(), self.adapters[task], strict=True):
                stack.callback(site.register_forward_hook(adapter.hook).remove)
            return super().pooled(task, **inputs)


class Adapter(PlainMethod):
    """A plain bottleneck per task, of ATLAS's width and at its sites, and a head.

    With a coefficient of 1, not of about a half, the adapters take a smaller rate than ATLAS's (one task, 1,000
    examples of the digits stream, 128 steps, rate of the head 5e-3, validation; seed 0, on vqa seeds 0, 1, 2):

    | rate | entailment | vqa |
    |---|---|---|
    | 0.1 | 0.808 | 0.484, 0.482, 0.504 |
    | 0.3 | 0.834 | 0.638, 0.650, 0.696 |
    | 1 | 0.840 | 0.142, 0.057, 0.199 |
    | 2 | 0.780 | 0.049 |
    | 1, the head too at 1.5e-3 | 0.848 | 0.212 |

    In few steps the larger rate is better (60 steps, one seed, 300 test examples): at 0.3 and 1, image-parity from 64
    examples 0.483 and 0.560, from 256 0.710 and 0.953; image-pairs from 256 0.633 and 0.740; visual-choice, vqa and
    text-choice from 64 0.977 and 0.957, 0.272 and 0.267, 0.597 and 0.570.
    """

    name = "adapter"
    summary = "an independent adapter per task"
    uses_order = False
    rate = 0.3
    short_rate: ClassVar[float] = 1.0

    def build(self) -> AdapterModel:
        return AdapterModel(self.setting.backbone, self.setting.width)

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        yield from self.model.adapters[task].parameters()
        yield from self.model.heads[task].parameters()

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        self.rate = self.short_rate if steps <= SHORT else type(self).rate
        super().train(tasks, args, steps)
