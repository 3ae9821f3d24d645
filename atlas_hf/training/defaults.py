"""Length, rate and batch for the data at hand, where the user gives none.

Measured with a MiniLM sentence encoder (22 million parameters) on reviews: 20 to 200 steps of 16 come to the same
within a point or two for 16 to 256 examples, and 400 are enough for 1,500 to 6,000. Twenty epochs, the default of
`AtlasTrainingArguments` as of the released code, are 20 steps for 64 examples, and 7,800 for 50,000.
"""

from collections.abc import Collection
from dataclasses import fields
from math import ceil
from typing import Any

from atlas_hf.training.arguments import AtlasTrainingArguments

BATCH, PASSES, FEWEST, MOST = 16, 4, 40, 400  # examples of a step; passes over the data, in so many steps
PARTS = 4  # the stage before the last is a part of it; so often is it evaluated and saved
RATE: dict[str, Any] = {"learning_rate": 2e-3, "adam_epsilon": 1e-8, "query_lr_multiplier": 25.0}
LENGTH = ("num_train_epochs", "max_steps", "experience_num_train_epochs", "experience_max_steps")
_MOMENTS = ("eval_strategy", "save_strategy", "eval_steps", "save_steps"), ("logging_strategy", "logging_steps")
_DEFAULTS = {one.name: one.default for one in fields(AtlasTrainingArguments)}


def chosen_for(args: AtlasTrainingArguments, examples: int, given: Collection[str] = ()) -> AtlasTrainingArguments:
    """A copy whose length, batch and rate suit so many training examples, each where it is at its default.

    Length: about 4 passes over the data, in 40 to 400 steps, and a quarter of them for experience-based learning;
    four evaluations of the last stage. Batch: 16. Rate: 0.002, with `adam_epsilon` 1e-8 and queries 25 times as fast.

    Args:
        given: names of fields that stay as they are, though they may be at their defaults.
    """
    return args.but(**_choices(args, examples, given))


def _choices(args: AtlasTrainingArguments, examples: int, given: Collection[str]) -> dict[str, Any]:
    def left(*names: str) -> bool:
        return all(name not in given and getattr(args, name) == _DEFAULTS[name] for name in names)

    found: dict[str, Any] = {}
    if left("per_device_train_batch_size"):
        found["per_device_train_batch_size"] = BATCH
    if left("learning_rate", "experience_learning_rate"):
        found |= {name: value for name, value in RATE.items() if left(name)}
    if left(*LENGTH):
        batch = found.get("per_device_train_batch_size", args.per_device_train_batch_size)
        step = batch * args.gradient_accumulation_steps * args.world_size
        part = ceil(min(max(PASSES * examples / step, FEWEST), MOST) / PARTS)
        found |= {"max_steps": PARTS * part, "experience_max_steps": part}
        for names in _MOMENTS:
            if left(*names):
                found |= {name: "steps" if name.endswith("strategy") else part for name in names}
    return found


def told(chosen: AtlasTrainingArguments, args: AtlasTrainingArguments, examples: int) -> str:
    """What `chosen_for` made of `args`, as a line; empty if nothing."""
    parts = []
    if chosen.max_steps != args.max_steps:
        parts.append(f"{chosen.max_steps} steps (and {chosen.experience_max_steps} before them if it reuses a task)")
    if chosen.per_device_train_batch_size != args.per_device_train_batch_size:
        parts.append(f"batches of {chosen.per_device_train_batch_size}")
    if chosen.learning_rate != args.learning_rate:
        parts.append(f"learning rate {chosen.learning_rate:g}")
    return f"chosen for {examples:,} examples: {', '.join(parts)}" if parts else ""
