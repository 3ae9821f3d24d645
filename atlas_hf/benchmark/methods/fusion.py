"""Reuse without expansion: a new task weighs the adapters of earlier tasks and adds none."""

from collections.abc import Sequence
from dataclasses import replace

from transformers import set_seed

from atlas_hf.benchmark.methods.atlas import AtlasPaper
from atlas_hf.benchmark.methods.base import Cost, Method, Setting, total_steps
from atlas_hf.benchmark.methods.plain_model import LoadedTask
from atlas_hf.training import AtlasTrainer, AtlasTrainingArguments
from atlas_hf.training.quiet import quiet, train_quietly
from atlas_hf.tuner import REUSED, STAGES, count_by_part


class FusionTrainer(AtlasTrainer):
    """The first stage alone."""

    @property
    def stages(self) -> list[str]:
        """Without expansion."""
        return ["experience"]


class Fusion(AtlasPaper):
    """Queries over the earlier tasks' adapters and a head, with ATLAS's own coefficients.

    As in AdapterFusion (Pfeiffer et al. 2021), each reused adapter was learned from its own task alone: beside the
    task that is scored, with as many steps again, which are not in its `Cost`, and only once another task follows.
    The first task has nothing to reuse, and only its own adapter, which is reused.
    """

    name = "fusion"
    summary = "reuse of earlier adapters without an own one"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.sources: list[str] = []
        self.fused: list[str] = []
        self.pending: LoadedTask | None = None

    def learn(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments) -> Cost:
        """Learns the pending adapter first, outside the `Cost`."""
        self.learn_source()
        return super().learn(tasks, args)

    def fork(self) -> Method:
        """Learns the pending adapter first, so that not every copy has to."""
        self.learn_source()
        return super().fork()

    def learn_source(self) -> None:
        """Learn the last task's adapter by itself, under another name."""
        if self.pending is None:
            return
        (spec, data), self.pending = self.pending, None
        source = replace(spec, name=f"{spec.name}-alone")
        with quiet(self.args) as args:
            set_seed(args.seed)
            self.model.add_task(source, experience=())
            args.max_steps, args.recipe = total_steps(args, len(data["train"])), self.recipe
            train_quietly(AtlasTrainer(self.model, args, source.name, data["train"]))
        self.sources.append(source.name)

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """Queries and head over the sources; the first task as ATLAS does."""
        ((spec, data),) = tasks
        if not self.sources:
            self.sources.append(spec.name)
            super().train(tasks, args, steps)
            return
        self.model.add_task(spec, experience=self.sources)
        args.experience_max_steps, args.recipe = steps, self.recipe
        train_quietly(FusionTrainer(self.model, args, spec.name, data["train"]))
        self.model.set_stage(spec.name, "experience", relearn=True)  # not complete: its own adapter takes no part
        self.model.set_task(spec.name)
        self.fused.append(spec.name)
        self.pending = tasks[0]

    def parameters(self) -> dict[str, int]:
        """Of a task: its queries and head; of a source: its adapter and key."""
        fused = [self._count(task, STAGES["experience"].trained) for task in self.fused]
        sources = sum(self._count(task, REUSED) for task in self.sources)
        own = self._count(self.sources[0], ("atlas_query", "atlas_head"))
        alone = sum(self.model.count_parameters(self.sources[0]).values())
        return {"trained": fused[-1] if fused else alone, "stored": sum(fused) + sources + own}

    def _count(self, task: str, parts: Sequence[str]) -> int:
        return sum(size for part, size in count_by_part(self.model, task).items() if part in parts)
