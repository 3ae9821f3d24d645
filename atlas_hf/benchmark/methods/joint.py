"""All tasks at once: what could be reached if no task came after another."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from atlas_hf.benchmark.methods.base import PlainTrainer, Setting
from atlas_hf.benchmark.methods.plain_model import LoadedTask, PlainModel
from atlas_hf.benchmark.methods.sequential_ft import SequentialFT
from atlas_hf.training import AtlasTrainingArguments
from atlas_hf.training.quiet import train_quietly

Position = tuple[int, list[int]]


class MixedTasks(Dataset):
    """Item (i, rows): a batch of these rows of the i-th task, with the task's name."""

    def __init__(self, model: PlainModel, tasks: Sequence[LoadedTask]) -> None:
        self.parts = [(spec.name, model.collator(spec.name), data["train"]) for spec, data in tasks]

    def __len__(self) -> int:
        return sum(len(data) for _, _, data in self.parts)

    def __getitem__(self, position: Position) -> dict[str, Any]:
        task, collate, data = self.parts[position[0]]
        return {"task": task} | collate([data[row] for row in position[1]])


class MixedBatches(Sampler[Position]):
    """Every example of every task once, in batches of one task each, in an order drawn anew each time."""

    def __init__(self, sizes: Sequence[int], batch_size: int, seed: int) -> None:
        self.sizes, self.batch_size = sizes, batch_size
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return sum(-(-size // self.batch_size) for size in self.sizes)

    def __iter__(self) -> Iterator[Position]:
        batches: list[Position] = []
        for task, size in enumerate(self.sizes):
            rows = self.rng.permutation(size).tolist()
            batches += [(task, rows[i : i + self.batch_size]) for i in range(0, size, self.batch_size)]
        yield from (batches[i] for i in self.rng.permutation(len(batches)))


class JointTrainer(PlainTrainer):
    """Trains on batches of several tasks."""

    def __init__(self, *args: Any, tasks: Sequence[LoadedTask], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tasks = tasks

    def get_train_dataloader(self) -> DataLoader:
        """Batches that `MixedBatches` draws."""
        sizes = [len(data["train"]) for _, data in self.tasks]
        batches = MixedBatches(sizes, self.args.train_batch_size, self.args.seed)
        return DataLoader(MixedTasks(self.method.model, self.tasks), sampler=batches, batch_size=None)


class Joint(SequentialFT):
    """Fine-tunes the pretrained backbone on all tasks together, in as many steps as the others take in all."""

    name = "joint"
    summary = "the whole backbone, all tasks at once (upper bound)"
    uses_order = False
    together = all_heads = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.pretrained = deepcopy(self.model)

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """From the pretrained backbone anew."""
        self.model = deepcopy(self.pretrained)
        for spec, data in tasks:
            self.model.add_task(spec)
            spec.check_dataset(data["train"], "train")
        self.unfreeze(self.trained_parameters(self.model.task))
        args.max_steps = steps
        train_quietly(JointTrainer(self, args, spec.name, data["train"], tasks=tasks))
