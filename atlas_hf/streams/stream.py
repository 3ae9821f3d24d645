"""What a stream is; choosing tasks of it, and examples of a task."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from datasets import DatasetDict

from atlas_hf.tasks import TaskSpec

LoadedTask = tuple[TaskSpec, DatasetDict]
Orders = dict[str, tuple[str, ...]]
Sizes = dict[str, int | None]  # `train_size`, `validation_size`, `test_size`: examples per task, None for all
Settings = dict[str, Any]  # fields of `AtlasTrainingArguments`


class Stream(Protocol):
    """A module with these names. A new stream is such a module, and a line in `atlas_hf.streams.STREAMS`.

    Attributes:
        ORDERS: the upstream tasks, in the orders in which they can be learned.
        DOWNSTREAM: tasks to be learned each on its own from the upstream model.
        BACKBONE_ID: the backbone that it is learned with.
        THREADS: of a CPU.
        WIDTH: of the adapters.
        POOLING: what heads read of that backbone, a `pooling` of `AtlasConfig`; None for its default.
        SIZES, TRAINING: how the command line learns it.
        SMOKE_SIZES, SMOKE_TRAINING: the same within seconds, to see that it runs.
        BENCHMARK_SIZES, BENCHMARK_TRAINING: how the benchmark learns it.
        LOW_SHOT_SIZES, LOW_SHOT_TRAINING: numbers of examples, and how they are learned from.
    """

    ORDERS: Orders
    DOWNSTREAM: tuple[str, ...]
    BACKBONE_ID: str
    THREADS: int
    WIDTH: int
    POOLING: str | None
    SIZES: Sizes
    TRAINING: Settings
    SMOKE_SIZES: Sizes
    SMOKE_TRAINING: Settings
    BENCHMARK_SIZES: Sizes
    BENCHMARK_TRAINING: Settings
    LOW_SHOT_SIZES: tuple[int, ...]
    LOW_SHOT_TRAINING: Settings

    def load(self, order: str = ..., *, tasks: Iterable[str] | None = None, **options: Any) -> list[LoadedTask]:
        """The upstream tasks in an order, `tasks` of them or all; options as those of `load_task`."""

    def load_downstream(self, *, tasks: Iterable[str] | None = None, **options: Any) -> list[LoadedTask]:
        """The downstream tasks."""

    def load_task(
        self, name: str, train_size: int = ..., validation_size: int = ..., test_size: int = ..., *, seed: int = 0
    ) -> LoadedTask:
        """One task by name, with sizes of the stream's own; a stream may take more options by keyword."""


def low_shot(data: DatasetDict, n: int, seed: int = 0) -> DatasetDict:
    """The same data with `n` training examples drawn at random; validation and test stay whole.

    Raises a `ValueError` if `n` is not between 1 and the number of training examples.
    """
    train = data["train"]
    if not 1 <= n <= len(train):
        raise ValueError(f"Cannot draw {n} training examples; give a number between 1 and {len(train)}.")
    rows = np.random.default_rng(seed).permutation(len(train))[:n]
    return DatasetDict({**data, "train": train.select(rows)})


def chosen(possible: Sequence[str], tasks: Iterable[str] | None) -> list[str]:
    """The tasks that are wanted, in the order of `possible`; a `ValueError` for one that is not there."""
    wanted = list(possible if tasks is None else tasks)
    unknown = [name for name in wanted if name not in possible]
    if unknown:
        raise ValueError(f"There is no task {', '.join(map(repr, unknown))} here; possible are {', '.join(possible)}.")
    return [name for name in possible if name in wanted]


def in_order(orders: Mapping[str, Sequence[str]], order: str, tasks: Iterable[str] | None) -> list[str]:
    """The tasks that are wanted, in an order by its name; a `ValueError` for an order or a task that is not there."""
    if order not in orders:
        raise ValueError(f"Order {order!r} does not exist; possible are {', '.join(orders)}.")
    return chosen(orders[order], tasks)
