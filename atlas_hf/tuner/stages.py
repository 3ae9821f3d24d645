"""The stages of a task and the parts that it owns: the one table of what trains when, and of what each is called."""

import re
from typing import NamedTuple

from torch import nn


class Part(NamedTuple):
    """What a task owns under one attribute."""

    title: str  # as the trainer prints it
    group: str  # as `AtlasModel.count_parameters` adds it up


class Stage(NamedTuple):
    """A stretch of a task's life."""

    title: str  # as the trainer prints it
    trained: tuple[str, ...]  # the parts that train; all others are frozen, though PEFT takes "active" for "trainable"
    own: bool  # does the task's own adapter take part?

    @property
    def frozen(self) -> tuple[str, ...]:
        """The parts that do not train."""
        return tuple(part for part in PARTS if part not in self.trained)


PARTS = {
    "atlas_experience_query": Part("queries over the experience", "queries"),
    "atlas_query": Part("own query", "queries"),
    "atlas_key": Part("own key", "key"),
    "atlas_down": Part("adapter, down", "adapter"),
    "atlas_up": Part("adapter, up", "adapter"),
    "atlas_head": Part("head", "head"),
}
REUSED = ("atlas_key", "atlas_down", "atlas_up")  # by later tasks
STAGES = {
    "experience": Stage("experience-based learning", ("atlas_experience_query", "atlas_head"), own=False),
    "expansion": Stage("novel knowledge expansion", ("atlas_query", *REUSED, "atlas_head"), own=True),
    "complete": Stage("complete", (), own=True),
}
_OWNED = re.compile(rf"\.({'|'.join(PARTS)})\.([^.]+)")


def part_and_task(parameter: str) -> tuple[str, str] | None:
    """Which part of which task a parameter of this name in a model belongs to; None for the backbone's."""
    found = _OWNED.search(parameter)
    return (found[1], found[2]) if found else None


def count_by_part(model: nn.Module, task: str) -> dict[str, int]:
    """How many numbers a task owns in each of `PARTS`."""
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        found = part_and_task(name)
        if found and found[1] == task:
            counts[found[0]] += parameter.numel()
    return counts
