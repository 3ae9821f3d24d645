"""The stream of the ATLAS paper, from the Hub: the tasks of CLiMB in the paper's orders and settings.

`hub_tasks` says how a task is read from data sets on the Hub, `tasks` which there are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from atlas_hf.streams.climb.hub_tasks import load_hub_task
from atlas_hf.streams.climb.tasks import TASKS
from atlas_hf.streams.stream import LoadedTask, Orders, Settings, Sizes, chosen, in_order
from atlas_hf.streams.stream import low_shot as low_shot

ORDERS: Orders = {
    "multi-first": ("snli-ve", "piqa", "inaturalist", "vqa"),
    "mono-first": ("piqa", "snli-ve", "vqa", "inaturalist"),
}
DOWNSTREAM: tuple[str, ...] = ("vcr", "commonsense-qa", "places365", "nlvr2")
LOW_SHOT = ("imdb", "sst2", "hellaswag", "coco-objects")  # CLiMB's further low-shot tasks
BACKBONE_ID = "dandelin/vilt-b32-mlm"
VALIDATION_SIZE = 2000

# The paper's settings are the defaults of `AtlasTrainingArguments`; images are decoded and resized by the workers.
THREADS = torch.get_num_threads()
SIZES: Sizes = {"train_size": None, "validation_size": VALIDATION_SIZE, "test_size": None}
WIDTH = 48
POOLING: str | None = None
TRAINING: Settings = {"recipe": "paper", "dataloader_num_workers": 4}
BENCHMARK_SIZES: Sizes = {"train_size": 2048, "validation_size": 1, "test_size": 2000}
BENCHMARK_TRAINING = TRAINING
LOW_SHOT_SIZES: tuple[int, ...] = (2048,)
LOW_SHOT_TRAINING = TRAINING
SMOKE_SIZES: Sizes = {"train_size": 16, "validation_size": 8, "test_size": 8}
SMOKE_TRAINING: Settings = {"num_train_epochs": 1.0, "per_device_train_batch_size": 8, "dataloader_num_workers": 0}


def load(order: str = "multi-first", *, tasks: Iterable[str] | None = None, **options: Any) -> list[LoadedTask]:
    """The upstream tasks, all or `tasks`, in an order of `ORDERS`; options and errors are those of `load_task`."""
    return [load_task(name, **options) for name in in_order(ORDERS, order, tasks)]


def load_downstream(*, tasks: Iterable[str] | None = None, **options: Any) -> list[LoadedTask]:
    """The downstream tasks, each to be learned on its own from the upstream model; arguments as in `load`.

    `tasks` may name those of `LOW_SHOT` too; without it they are the four of the paper.
    """
    names = DOWNSTREAM if tasks is None else chosen(DOWNSTREAM + LOW_SHOT, tasks)
    return [load_task(name, **options) for name in names]


def load_task(
    name: str,
    train_size: int | None = None,
    validation_size: int | None = VALIDATION_SIZE,
    test_size: int | None = None,
    *,
    seed: int = 0,
    sources: Mapping[str, str] | None = None,
) -> LoadedTask:
    """One task by name: its spec and its splits train, validation and test.

    Args:
        train_size, validation_size, test_size: at most as many examples, drawn at random; None for all. Of a large
            data set only these are downloaded.
        seed: of what is drawn, and of its order.
        sources: by task, another Hub id or folder to read it from.

    Raises a `ValueError` for a task, a data set or a column that does not exist.
    """
    (name,) = chosen(tuple(TASKS), (name,))
    elsewhere = dict(sources or {})
    chosen(tuple(TASKS), elsewhere)
    task = TASKS[name].at(elsewhere[name]) if name in elsewhere else TASKS[name]
    return load_hub_task(task, {"train": train_size, "validation": validation_size, "test": test_size}, seed)
