"""What a trainer decides by evidence (`recipe="evidence"`): where a task begins, and which of its stages count."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.checkpointing import CheckpointingTrainer, stages_of
from atlas_hf.training.checkpoints import Checkpoint
from atlas_hf.training.console import tell
from atlas_hf.training.evidence import LEAST, MANY, answer_scores, clearly_better, hold_out
from atlas_hf.training.head_start import learn_head
from atlas_hf.training.rehearsal import rehearse
from atlas_hf.training.sources import find_sources
from atlas_hf.training.stages import StageTable, changing_only
from atlas_hf.tuner import BASE, STAGES


class DecidingTrainer(CheckpointingTrainer):
    """Begins a task where it helps, with a head learned to its end, and undoes a stage that does not help.

    Of a finished task that is learned again, and by the recipe `"paper"`, nothing is decided. See `AtlasTrainer`.
    """

    def __init__(self, *args: Any, max_experience: int | None = None, **kwargs: Any) -> None:
        self.max_experience = max_experience
        self._again = False  # is a finished task learned once more?
        self._held_out: Dataset | None = None  # of the training examples, while `train` runs
        self._before: NDArray | None = None  # how well the task answered before the stage, (n,)
        self._adapter_helps = True  # unless a rehearsal said otherwise
        super().__init__(*args, **kwargs)

    @property
    def fingerprint(self) -> str:
        """With the bound on what is reused, if there is one."""
        return super().fingerprint + ("" if self.max_experience is None else f"-{self.max_experience}")

    @property
    def _by_evidence(self) -> bool:
        return self.task_args.recipe == "evidence" and not self._again

    @property
    def _evidence(self) -> Dataset | None:
        """Examples that the task does not learn from."""
        sets: Any = self._held_out if self.eval_dataset is None else self.eval_dataset
        return next(iter(sets.values())) if isinstance(sets, dict) else sets

    @property
    def _open(self) -> bool:
        """Is it open whether a stage helps? A task alone with many examples is an independent adapter."""
        return bool(self.opened) or len(self._examples) < MANY

    @property
    def _rehearses(self) -> bool:
        """Is it decided before the second stage, without a first one? Few examples are too few to hold some out."""
        few = self.eval_dataset is None and len(self._examples) < MANY
        return self._by_evidence and self.task_args.expand == "auto" and few

    def _stage_args(self, stage: str) -> AtlasTrainingArguments:
        """With as many steps as if no example were held out."""
        args = super()._stage_args(stage)
        args.num_train_epochs *= len(self._examples) / len(self.train_dataset)
        return args

    def _worth_trying(self, stages: list[str], begun: bool = False) -> list[str]:
        """Those that are told to count or can be decided on, and the first if it is `begun`."""
        if begun:
            return [*stages[:1], *self._worth_trying(stages[1:])]
        if not self._by_evidence:
            return stages
        if self._rehearses:
            return ["expansion"] if self._adapter_helps and len(self._examples) >= LEAST else []
        return [stage for stage in stages if stage != "expansion" or self.task_args.expand != "never"]

    def _decides_on(self, stage: str) -> bool:
        """May the stage be undone?"""
        told = stage == "expansion" and self.task_args.expand == "always"
        return self._by_evidence and self._evidence is not None and not told and self._open

    def _begin(self) -> None:
        """At the model that helps, with a head learned to its end there."""
        self.stage_metrics, self._adapter_helps = {}, True
        if not self._by_evidence:
            return
        if self._config.experience:
            self.model.set_stage(self.task, "experience")
            began = time.perf_counter()
            found = find_sources(self.model, self.task, self._examples, self.max_experience, self.task_args.seed)
            self.opened, self.sources = broadcast_object_list([*found])  # as in `_decide`
            self.model.base_model.begin_at(self.task, self.opened)
            reused = self._config.experience
            of = f", so it reuses {', '.join(reused)}" if set(reused) != set(self.opened) else ""
            self._tell(f"{_beginning(self.opened, self.sources)}{of}; found in {time.perf_counter() - began:.1f} s")
        self._hold_out()
        if self._rehearses and len(self._examples) >= LEAST:
            self._rehearse()
        held = f"; {len(self._held_out):,} others are held out, to decide by" if self._held_out is not None else ""
        self._tell(f"learns its head first, of {len(self.train_dataset):,} examples{held}")
        self._learn_head(self.train_dataset)

    def _put_beginning_back(self) -> None:
        """Of a task that was left half-trained: let it be as it was before that."""
        beginning = self.model.beginnings[self.task]
        beginning.put_back(self.model, self.task)
        self._again, self._candidates = beginning.again, list(beginning.experience)
        self.stage, self.opened, self.sources, self.stage_metrics, self.seconds = None, [], {}, {}, 0.0

    def _greet(self, half_trained: bool) -> None:
        """The first word: before anything is computed."""
        offered = self._config.experience
        among = f", and looks where to begin: at {', '.join(offered)} or the bare backbone" if offered else ""
        if not offered and len(self.model.finished) > 0:
            among = ", alone: no earlier task has an adapter that it might reuse"
        self._tell(f"learns from {len(self._examples):,} examples{among if self._by_evidence else ''}")
        if half_trained:
            self._tell("was left half-trained by a training that did not end; begins anew, as it was before that")

    def _tell_where(self, checkpoint: Checkpoint) -> None:
        """What a training that goes on leaves out, and what it goes on with."""
        stages, stage = stages_of(checkpoint.experience(self.task)), checkpoint.stage(self.task)
        left_out = [STAGES[one].title for one in stages[: stages.index(stage)]]
        done = f"; left out, as it is done: {', '.join(left_out)}" if left_out else ""
        ended = ", which had ended" if checkpoint.has_ended(self.fingerprint) else ""
        self._tell(f"goes on from {checkpoint.path} with {STAGES[stage].title}{ended}{done}")

    def _rehearse(self) -> None:
        """Is there to be a second stage?"""
        self.model.set_stage(self.task, "expansion")
        self._tell(f"rehearses an adapter of its own, on parts of its {len(self._examples):,} examples")
        with changing_only(self.model, self.task, "expansion"):
            before, after = rehearse(
                self.model, self.task, self._examples, self.task_args, self._learn_head, self._tell
            )
        found = broadcast_object_list([clearly_better(after, before)])
        self._adapter_helps = found[0]
        self._found("expansion", before, after, found[0])

    def _hold_out(self) -> None:
        """Some of the training examples, where there is something to decide and nothing else to decide by."""
        if not self._by_evidence or self.task_args.expand != "auto" or self.eval_dataset is not None:
            return
        if self.opened and not self._rehearses:
            self.train_dataset, self._held_out = hold_out(self._examples, self.task_args.seed)

    @contextmanager
    def _all_examples_afterwards(self) -> Iterator[None]:
        """What was held out is back among the training examples, whatever happens meanwhile."""
        try:
            yield
        finally:
            self.train_dataset, self._held_out = self._examples, None

    def _tell(self, text: str) -> None:
        """Where the stages are told of."""
        if self.args.process_index == 0 and any(
            isinstance(one, StageTable) for one in self.callback_handler.callbacks
        ):
            tell(f"{self.task}: {text}")

    def _learn_head(self, examples: Dataset) -> None:
        stage = "experience" if self._config.experience else "expansion"
        self.model.set_stage(self.task, stage)
        with changing_only(self.model, self.task, stage):
            learn_head(self.model, self.task, examples, self.task_args, self.opened)

    def _remember(self, stage: str, checkpoint: Checkpoint | None) -> None:
        """How the task answers before the stage, which is that of a checkpoint if there is one to go on from."""
        self._start, self._before = {}, None
        if not self._decides_on(stage):
            return
        now = {key: tensor.detach().clone() for key, tensor in self._trained().items()}
        self._start = now if checkpoint is None else checkpoint.start()
        if self._start:
            self._put(self._start)
            self._before = self._scores()
            self._put(now)

    def _decide(self, stage: str) -> None:
        """Undo the stage unless the task answers clearly better after it."""
        if self._before is None:
            return
        scores = self._scores()
        kept = [clearly_better(scores, self._before)]
        broadcast_object_list(kept)  # processes that came to different ends would wait for each other for ever
        if not kept[0]:
            self._put(self._start)
        self._found(stage, self._before, scores, kept[0])

    def _found(self, stage: str, before: NDArray, after: NDArray, kept: bool) -> None:
        """Record, and tell, what a decision on a stage was made by: scores (n,) without it and with it."""
        found = {"score_before": before.mean(), "score_after": after.mean(), "kept": kept}
        found = {name: float(value) for name, value in found.items()}
        self.stage_metrics[stage] = self.stage_metrics.get(stage, {}) | found
        what = "kept" if kept else "undone, as not clearly better"
        self._tell(
            f"{STAGES[stage].title} {what}: {found['score_after']:.3f} with it, "
            f"{found['score_before']:.3f} without, on {len(after)} examples that it did not learn from"
        )

    def _end(self) -> None:
        """What no stage has improved is the head alone: it learns from the examples held out, too."""
        if not self._by_evidence:
            return
        kept = [stage for stage, found in self.stage_metrics.items() if found.get("kept", 1)]
        if "expansion" not in kept:
            self.model.base_model.drop_adapter(self.task)
        if not kept and self._held_out is not None:
            self._learn_head(self._examples)

    def _trained(self) -> dict[str, Tensor]:
        tensors = self.model.base_model.task_tensors(self.task)
        return {key: tensor for key, tensor in tensors.items() if tensor.requires_grad}

    def _put(self, values: dict[str, Tensor]) -> None:
        trained = self._trained()
        with torch.no_grad():
            for key, value in values.items():
                trained[key].copy_(value)

    def _scores(self) -> NDArray:
        """How well the task answers each of the examples to decide by, (n,)."""
        size = self.task_args.per_device_eval_batch_size
        assert self._evidence is not None, "there are examples to decide by"
        return answer_scores(self.model, self.task, self._evidence, size)


def _beginning(opened: Sequence[str], errors: Mapping[str, float]) -> str:
    """Where a task begins and where not, as text."""
    named = {name if name != BASE else "bare backbone": error for name, error in errors.items()}
    listed = ", ".join(f"{name} {error:.3f}" for name, error in sorted(named.items(), key=lambda item: item[1]))
    return f"begins at {' + '.join(opened) or 'the bare backbone'} (error of a linear probe: {listed})"
