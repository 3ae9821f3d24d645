"""How long a sequence of tasks will take, told after each of them."""

import time
from collections.abc import Mapping
from math import ceil

from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.console import duration


def examples_trained_on(args: AtlasTrainingArguments, examples: int) -> int:
    """How often a task's training sees an example in its last stage, the longest one."""
    batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    return args.max_steps * batch if args.max_steps > 0 else ceil(args.num_train_epochs * examples)


class Pace:
    """What is left of a sequence, judged by the tasks that were learned since this was made.

    Args:
        lengths: by task, in their order, the `examples_trained_on`.
    """

    def __init__(self, lengths: Mapping[str, int]) -> None:
        self.lengths, self.began = lengths, time.perf_counter()
        self.done = 0

    def after(self, task: str) -> str:
        """A line once a task is learned; empty after the last one."""
        names = list(self.lengths)
        position = names.index(task) + 1
        self.done += self.lengths[task]
        seconds = time.perf_counter() - self.began
        left = sum(self.lengths[name] for name in names[position:])
        if position == len(names):
            return ""
        return (
            f"{position} of {len(names)} tasks after {duration(seconds)}; about "
            f"{duration(seconds * left / max(self.done, 1))} for the others"
        )
