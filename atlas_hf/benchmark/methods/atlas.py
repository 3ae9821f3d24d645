"""ATLAS itself, in both variants."""

from collections.abc import Sequence
from typing import ClassVar

from atlas_hf.benchmark.methods.base import Method
from atlas_hf.benchmark.methods.plain_model import LoadedTask
from atlas_hf.model import AtlasModel
from atlas_hf.training import AtlasTrainer, AtlasTrainingArguments
from atlas_hf.training.quiet import train_quietly
from atlas_hf.tuner import AtlasConfig


class Atlas(Method):
    """It begins at the model that helps, with its head, and keeps the stages that help: the package's defaults."""

    name = "atlas"
    summary = "reuse of what helps, and expansion where it helps"
    variant: ClassVar[str] = "paper"
    recipe: ClassVar[str] = "evidence"
    model: AtlasModel

    def build(self) -> AtlasModel:
        """An `AtlasModel` of the variant."""
        config = AtlasConfig(r=self.setting.width, variant=self.variant, pooling=self.setting.pooling)
        return AtlasModel.from_pretrained(self.setting.backbone, config=config)

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """Both stages with their own steps; the only stage of a first task with `steps`."""
        ((spec, data),) = tasks
        args.recipe = self.recipe
        self.model.add_task(spec)
        if not self.model.peft_config[spec.name].experience:
            args.max_steps = steps
        trainer = AtlasTrainer(self.model, args, spec.name, data["train"])
        train_quietly(trainer)
        self.began_at[spec.name] = list(trainer.opened)

    def parameters(self) -> dict[str, int]:
        """Adapters, keys, queries and heads."""
        sizes = [sum(self.model.count_parameters(task).values()) for task in self.model.tasks]
        return {"trained": sizes[-1], "stored": sum(sizes)}


class AtlasPaper(Atlas):
    """Experience-based learning over all earlier tasks, then novel knowledge expansion."""

    name = "atlas_paper"
    summary = "two-stage reuse of all earlier tasks, as in the paper's figure"
    recipe = "paper"


class AtlasReference(AtlasPaper):
    """As in the authors' released code."""

    name = "atlas_reference"
    summary = "two-stage reuse, as in the released code"
    variant = "reference"
