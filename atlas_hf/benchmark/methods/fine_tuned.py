"""Full fine-tuning of each task alone, from the pretrained backbone: as many backbones as tasks."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, cast

from torch import Tensor, nn

from atlas_hf.benchmark.methods.base import PlainMethod
from atlas_hf.benchmark.methods.plain_model import PlainModel
from atlas_hf.model import BASE, AtlasModel
from atlas_hf.tasks import TaskSpec


class ManyBackbones(PlainModel):
    """A `PlainModel` with a copy of the pretrained backbone per task."""

    def __init__(self, backbone: str, pooling: str | None = None) -> None:
        super().__init__(backbone, pooling)
        self.copies = nn.ModuleDict()

    def add_task(self, spec: TaskSpec) -> None:
        """A copy of the backbone, and the head."""
        self.copies[spec.name] = deepcopy(self.bare)
        super().add_task(spec)

    def pooled(self, task: str, **inputs: Any) -> Tensor:
        """(rows, D), of the task's own backbone."""
        return cast(AtlasModel, self.copies[task]).pooled(BASE, **inputs)


class FineTuned(PlainMethod):
    """The head to its end, then everything (Kumar et al. 2022, LP-FT)."""

    name = "fine_tuned"
    summary = "an own copy of the whole backbone per task, after its head was learned to its end"
    uses_order = False
    head_first = True
    rate = 0.02  # that of `sequential_ft`
    model: ManyBackbones

    def build(self) -> ManyBackbones:
        """The pretrained backbone, without copies."""
        return ManyBackbones(self.setting.backbone, self.setting.pooling)

    def trained_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The task's backbone and head."""
        yield from cast(AtlasModel, self.model.copies[task]).get_base_model().parameters()
        yield from self.model.heads[task].parameters()
