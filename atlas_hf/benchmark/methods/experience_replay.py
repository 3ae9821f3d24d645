"""Experience replay: a few examples of the earlier tasks are kept, and learned again beside the new ones."""

import numpy as np
from datasets import Dataset
from torch import Tensor

from atlas_hf.benchmark.methods.base import Setting
from atlas_hf.benchmark.methods.sequential_ft import SequentialFT
from atlas_hf.tasks import TaskSpec
from atlas_hf.training import AtlasTrainingArguments


class ExperienceReplay(SequentialFT):
    """Sequential fine-tuning; the loss of a batch of one earlier task, drawn at random, is added in each step, which
    is not one more (Chaudhry et al. 2019), but sees more examples.
    """

    name = "experience_replay"
    summary = "sequential fine-tuning with replay of 5 % of the examples"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.memory: dict[str, Dataset] = {}

    def after_task(self, spec: TaskSpec, data: Dataset, args: AtlasTrainingArguments) -> None:
        """Keep a share of the training examples, as CLiMB does."""
        kept = np.random.default_rng(args.seed).permutation(len(data))[: max(1, round(0.05 * len(data)))]
        self.memory[spec.name] = data.select(kept)

    def extra_loss(self, inputs: dict[str, Tensor], pooled: Tensor, step: int) -> Tensor | float:
        """The loss of a batch from memory."""
        if not self.memory:
            return 0.0
        task, rows = self.draw(step)
        batch = self.model.collator(task)([self.memory[task][int(row)] for row in rows])
        return self.model(task=task, **{name: tensor.to(self.model.device) for name, tensor in batch.items()}).loss

    def draw(self, step: int) -> tuple[str, np.ndarray]:
        """An earlier task and rows of its memory, the same ones for the same seed and step."""
        rng = np.random.default_rng([self.args.seed, len(self.memory), step])
        task = list(self.memory)[rng.integers(len(self.memory))]
        size = min(self.args.train_batch_size, len(self.memory[task]))
        return task, rng.permutation(len(self.memory[task]))[:size]
