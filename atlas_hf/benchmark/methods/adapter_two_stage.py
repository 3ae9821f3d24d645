"""Independent adapters in ATLAS's two stages, without its reuse: what of a gain is the order of training?"""

from __future__ import annotations

from collections.abc import Sequence

from atlas_hf.benchmark.methods.adapter import Adapter
from atlas_hf.benchmark.methods.base import LoadedTask, train_quietly
from atlas_hf.benchmark.methods.plain import PlainTrainer
from atlas_hf.benchmark.methods.steps import stage_steps
from atlas_hf.training.arguments import AtlasTrainingArguments


class AdapterTwoStage(Adapter):
    """First the head alone, for as long as ATLAS's first stage, then adapter and head (Kumar et al. 2022, LP-FT)."""

    name = "adapter_two_stage"
    summary = "an independent adapter per task, after its head"
    rate = 1.0

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        ((spec, data),) = tasks
        self.model.add_task(spec)
        trained = (self.model.heads[spec.name].parameters(), self.trained_parameters(spec.name))
        for parameters, length in zip(trained, stage_steps(args, len(data["train"])), strict=True):
            args.max_steps = length
            self.unfreeze(parameters)
            train_quietly(PlainTrainer(self, self.model, args, spec.name, data["train"]))
