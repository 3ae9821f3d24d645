"""A stream of tasks on real data that needs no network: scikit-learn's handwritten digits, in small scenes.

The tasks mirror those of the ATLAS paper (section 4): four upstream ones in its two orders, four downstream ones.

`scenes` draws; `examples` makes the examples of each task, `tasks` says what each task is and makes its data sets;
`pretraining` (with `pretraining_texts`) made the backbone in `digits_vilt/`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from atlas_hf.streams.digits.scenes import SPLITS
from atlas_hf.streams.digits.tasks import TASKS
from atlas_hf.streams.stream import LoadedTask, Orders, Settings, Sizes, chosen, in_order
from atlas_hf.streams.stream import low_shot as low_shot

ORDERS: Orders = {
    "multi-first": ("entailment", "text-choice", "image-class", "vqa"),
    "mono-first": ("text-choice", "entailment", "vqa", "image-class"),
}
DOWNSTREAM: tuple[str, ...] = ("visual-choice", "text-class", "image-parity", "image-pairs")
BACKBONE_ID = "atlas-hf/digits-vilt"
TRAIN_SIZE, VALIDATION_SIZE, TEST_SIZE = 3000, 500, 1000

# How the command line learns this stream: a small backbone wants a smaller batch, a larger rate and fewer epochs
# than the paper's. Its tensors are so small that on a CPU one thread is faster than two.
THREADS = 1
SIZES: Sizes = {"train_size": TRAIN_SIZE, "validation_size": VALIDATION_SIZE, "test_size": TEST_SIZE}
WIDTH = 32
POOLING: str | None = None
TRAINING: Settings = {
    "num_train_epochs": 3.0,
    "experience_num_train_epochs": 1.0,
    "per_device_train_batch_size": 32,
    "learning_rate": 5e-3,
    "query_lr_multiplier": 10.0,  # the queries' rate is the paper's, 0.05: ten times the paper's rate, a tenth of 100
    "adam_epsilon": 1e-8,
}
# How the benchmark learns it: less of everything, so that many methods and seeds fit into an hour.
BENCHMARK_SIZES: Sizes = {"train_size": 2000, "validation_size": 1, "test_size": 500}
BENCHMARK_TRAINING: Settings = TRAINING | {"num_train_epochs": 2.5, "experience_num_train_epochs": 0.5}
LOW_SHOT_SIZES: tuple[int, ...] = (16, 64, 256)
LOW_SHOT_TRAINING: Settings = TRAINING | {"max_steps": 50, "experience_max_steps": 10}
SMOKE_SIZES: Sizes = {"train_size": 64, "validation_size": 32, "test_size": 32}
SMOKE_TRAINING: Settings = {"num_train_epochs": 1.0, "experience_num_train_epochs": 1.0}


def backbone_path() -> Path:
    """The folder of the pretrained backbone that comes with the package (`BACKBONE_ID` on the Hub)."""
    return Path(__file__).parent / "digits_vilt"


def load(order: str = "multi-first", *, tasks: Iterable[str] | None = None, **options: Any) -> list[LoadedTask]:
    """The upstream tasks, all or `tasks`, in an order of `ORDERS`; options and errors are those of `load_task`."""
    return [load_task(name, **options) for name in in_order(ORDERS, order, tasks)]


def load_downstream(*, tasks: Iterable[str] | None = None, **options: Any) -> list[LoadedTask]:
    """The downstream tasks, each to be learned on its own from the upstream model; arguments as in `load`."""
    return [load_task(name, **options) for name in chosen(DOWNSTREAM, tasks)]


def load_task(
    name: str,
    train_size: int = TRAIN_SIZE,
    validation_size: int = VALIDATION_SIZE,
    test_size: int = TEST_SIZE,
    *,
    seed: int = 0,
) -> LoadedTask:
    """One task, upstream or downstream: its spec and its splits train, validation and test.

    Args:
        seed: of the data. A task's data depends on its name, the split and the seed only; a smaller size is the
            beginning of a larger one.

    Raises a `ValueError` for a task that does not exist.
    """
    (name,) = chosen(tuple(TASKS), (name,))
    task, sizes = TASKS[name], (train_size, validation_size, test_size)
    splits = {split: task.make_split(split, size, seed) for split, size in zip(SPLITS, sizes, strict=True)}
    return task.spec, DatasetDict(splits)
