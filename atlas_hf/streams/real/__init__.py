"""A stream of real tasks on short texts, learned with a real sentence encoder; docs/real.md says where it all is.

Four related tasks (sentiment as people rated it), two unrelated ones (definitions of nouns), and two controls.

`ratings` and `wordnet` read the texts, `packages` has pip download those of `ratings`; `tasks` says what each task is.
"""

from collections.abc import Iterable
from typing import Any

import torch

from atlas_hf.streams.real.tasks import TASKS
from atlas_hf.streams.stream import LoadedTask, Orders, Settings, Sizes, chosen, in_order
from atlas_hf.streams.stream import low_shot as low_shot

ORDERS: Orders = {
    "large-first": ("movies", "glosses", "word-defines", "products", "editorials", "tweets"),
    "small-first": ("tweets", "editorials", "products", "word-defines", "glosses", "movies"),
}
# The controls: `movies` with fresh examples, where reuse must win, and the same with labels that say nothing.
DOWNSTREAM: tuple[str, ...] = ("movies-twin", "movies-shuffled")
BACKBONE_ID = "sentence-transformers/all-MiniLM-L6-v2"
POOLING: str | None = "mean"  # what that encoder was trained with
TRAIN_SIZE, VALIDATION_SIZE, TEST_SIZE = 6000, 500, 1000

THREADS = torch.get_num_threads()
SIZES: Sizes = {"train_size": TRAIN_SIZE, "validation_size": VALIDATION_SIZE, "test_size": TEST_SIZE}
WIDTH = 24
TRAINING: Settings = {
    "max_steps": 400,
    "experience_max_steps": 100,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 64,
    "train_sampling_strategy": "group_by_length",  # padding would be half of each batch
    "learning_rate": 2e-3,
    "query_lr_multiplier": 25.0,  # the queries' rate is the paper's, 0.05
    "adam_epsilon": 1e-8,
}
BENCHMARK_SIZES: Sizes = {"train_size": TRAIN_SIZE, "validation_size": 1, "test_size": TEST_SIZE}
BENCHMARK_TRAINING: Settings = TRAINING
LOW_SHOT_SIZES: tuple[int, ...] = (16, 64, 256)
LOW_SHOT_TRAINING: Settings = TRAINING | {"max_steps": 40, "experience_max_steps": 10}
SMOKE_SIZES: Sizes = {"train_size": 32, "validation_size": 16, "test_size": 16}
SMOKE_TRAINING: Settings = {"max_steps": 2, "experience_max_steps": 2}


def load(order: str = "large-first", *, tasks: Iterable[str] | None = None, **options: Any) -> list[LoadedTask]:
    """The upstream tasks, all or `tasks`, in an order of `ORDERS`; options and errors are those of `load_task`."""
    return [load_task(name, **options) for name in in_order(ORDERS, order, tasks)]


def load_downstream(*, tasks: Iterable[str] | None = None, **options: Any) -> list[LoadedTask]:
    """The downstream tasks, each to be learned on its own from the upstream model; arguments as in `load`."""
    return [load_task(name, **options) for name in chosen(DOWNSTREAM, tasks)]


def load_task(
    name: str,
    train_size: int | None = TRAIN_SIZE,
    validation_size: int | None = VALIDATION_SIZE,
    test_size: int | None = TEST_SIZE,
    *,
    seed: int = 0,
) -> LoadedTask:
    """One task by name: its spec and its splits train, validation and test, which share no text.

    Args:
        train_size, validation_size, test_size: at most as many examples; None for all.
        seed: of the order of the training examples, and so of those that a smaller size takes.

    Raises a `ValueError` for a task that does not exist, and where its texts are not to be had.
    """
    (name,) = chosen(tuple(TASKS), (name,))
    task = TASKS[name]
    return task.spec, task.load((train_size, validation_size, test_size), seed)
