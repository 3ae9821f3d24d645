"""ATLAS itself, in both variants."""

from collections.abc import Sequence
from typing import ClassVar

from atlas_hf.benchmark.methods.base import Method, train_quietly
from atlas_hf.benchmark.methods.plain_model import LoadedTask
from atlas_hf.model import AtlasModel
from atlas_hf.training import AtlasTrainer, AtlasTrainingArguments
from atlas_hf.tuner import AtlasConfig


class Atlas(Method):
    """Experience-based learning, then novel knowledge expansion, with the defaults of the package."""

    name = "atlas"
    summary = "two-stage reuse, as in the paper's figure"
    variant: ClassVar[str] = "paper"
    model: AtlasModel

    def build(self) -> AtlasModel:
        """An `AtlasModel` of the variant."""
        config = AtlasConfig(r=self.setting.width, variant=self.variant, pooling=self.setting.pooling)
        return AtlasModel.from_pretrained(self.setting.backbone, config=config)

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """Both stages with their own steps; the only stage of a first task with `steps`."""
        ((spec, data),) = tasks
        self.model.add_task(spec)
        if not self.model.peft_config[spec.name].experience:
            args.max_steps = steps
        train_quietly(AtlasTrainer(self.model, args, spec.name, data["train"]))

    def parameters(self) -> dict[str, int]:
        """Adapters, keys, queries and heads."""
        sizes = [sum(self.model.count_parameters(task).values()) for task in self.model.tasks]
        return {"trained": sizes[-1], "stored": sum(sizes)}


class AtlasReference(Atlas):
    """As in the authors' released code."""

    name = "atlas_reference"
    summary = "two-stage reuse, as in the released code"
    variant = "reference"
