"""A stream of tasks on real data that needs no network: scikit-learn's handwritten digits, in small scenes.

The tasks mirror those of the ATLAS paper (section 4): four upstream ones in its two orders, four downstream ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict

from atlas_hf.streams.digits.examples import Row
from atlas_hf.streams.digits.scenes import SPLITS, Scene, handwriting, png, write_scenes
from atlas_hf.streams.digits.tasks import TASKS, DigitTask
from atlas_hf.streams.selection import chosen
from atlas_hf.tasks import TaskSpec

ORDERS = {
    "multi-first": ("entailment", "text-choice", "image-class", "vqa"),
    "mono-first": ("text-choice", "entailment", "vqa", "image-class"),
}
DOWNSTREAM = ("visual-choice", "text-class", "image-parity", "image-pairs")
BACKBONE_ID = "atlas-hf/digits-vilt"
TRAIN_SIZE, VALIDATION_SIZE, TEST_SIZE = 3000, 500, 1000

# How the command line learns this stream: a small backbone wants a smaller batch, a larger rate and fewer epochs
# than the paper's. Its tensors are so small that on a CPU one thread is faster than two.
THREADS = 1
SIZES = {"train_size": TRAIN_SIZE, "validation_size": VALIDATION_SIZE, "test_size": TEST_SIZE}
WIDTH = 32
TRAINING = {
    "num_train_epochs": 3.0,
    "experience_num_train_epochs": 1.0,
    "per_device_train_batch_size": 32,
    "learning_rate": 5e-3,
    "query_lr_multiplier": 10.0,  # the queries' rate is the paper's, 0.05: ten times the paper's rate, a tenth of 100
    "adam_epsilon": 1e-8,
}
# How the benchmark learns it: less of everything, so that many methods and seeds fit into an hour.
BENCHMARK_SIZES = {"train_size": 2000, "validation_size": 1, "test_size": 500}
BENCHMARK_TRAINING = TRAINING | {"num_train_epochs": 2.5, "experience_num_train_epochs": 0.5}
LOW_SHOT_SIZES = (16, 64, 256)
LOW_SHOT_TRAINING = TRAINING | {"max_steps": 50, "experience_max_steps": 10}
SMOKE_SIZES = {"train_size": 64, "validation_size": 32, "test_size": 32}
SMOKE_TRAINING = {"num_train_epochs": 1.0, "experience_num_train_epochs": 1.0}

LoadedTask = tuple[TaskSpec, DatasetDict]


def backbone_path() -> Path:
    """The folder of the pretrained backbone that comes with the package (`BACKBONE_ID` on the Hub)."""
    return Path(__file__).parent / "digits_vilt"


def load(
    order: str = "multi-first",
    *,
    train_size: int = TRAIN_SIZE,
    validation_size: int = VALIDATION_SIZE,
    test_size: int = TEST_SIZE,
    seed: int = 0,
    tasks: Iterable[str] | None = None,
) -> list[LoadedTask]:
    """The upstream tasks in one of the paper's orders.

    Args:
        order: a name in `ORDERS`.
        train_size, validation_size, test_size: examples per task.
        seed: of the data. A task's data depends on its name, the split and the seed only; a smaller size is the
            beginning of a larger one.
        tasks: only these tasks of the order; the order stays.

    Raises:
        ValueError: for an order or a task that does not exist.
    """
    if order not in ORDERS:
        raise ValueError(f"Order {order!r} does not exist; possible are {', '.join(ORDERS)}.")
    names = chosen(ORDERS[order], tasks)
    return [load_task(name, train_size, validation_size, test_size, seed=seed) for name in names]


def load_downstream(
    *,
    train_size: int = TRAIN_SIZE,
    validation_size: int = VALIDATION_SIZE,
    test_size: int = TEST_SIZE,
    seed: int = 0,
    tasks: Iterable[str] | None = None,
) -> list[LoadedTask]:
    """The downstream tasks, each to be learned on its own from the upstream model; arguments as in `load`."""
    names = chosen(DOWNSTREAM, tasks)
    return [load_task(name, train_size, validation_size, test_size, seed=seed) for name in names]


def load_task(
    name: str,
    train_size: int = TRAIN_SIZE,
    validation_size: int = VALIDATION_SIZE,
    test_size: int = TEST_SIZE,
    *,
    seed: int = 0,
) -> LoadedTask:
    """One task by name, upstream or downstream: its spec and its splits train, validation and test."""
    (name,) = chosen(tuple(TASKS), (name,))
    task, sizes = TASKS[name], (train_size, validation_size, test_size)
    splits = {split: _build_split(task, split, size, seed) for split, size in zip(SPLITS, sizes, strict=True)}
    return task.spec, DatasetDict(splits)


def _build_split(task: DigitTask, split: str, size: int, seed: int) -> Dataset:
    entropy = [seed, zlib.crc32(task.spec.name.encode()), SPLITS.index(split)]
    rng, hands = (np.random.default_rng(entropy + [stream]) for stream in range(2))
    rows = [task.example(rng, split) for _ in range(size)]
    columns = {column: [row[column] for row in rows] for column in task.spec.features}
    if task.spec.image_columns:
        columns |= _images(task.spec.image_columns, rows, split, hands)
    return Dataset.from_dict(columns, features=task.spec.features)


def _images(columns: Sequence[str], rows: Sequence[Row], split: str, rng: np.random.Generator) -> dict[str, list]:
    """The scenes of each image column, written in the split's handwriting and stored as PNG files."""
    scenes: list[Scene] = [row[column] for row in rows for column in columns]
    digits = np.array([scene.digits for scene in scenes]).reshape(-1, 4)
    colours = np.array([scene.colours for scene in scenes]).reshape(-1, 4)
    files = [png(pixels) for pixels in write_scenes(digits, colours, handwriting(split), rng)]
    files = [{"bytes": file, "path": None} for file in files]
    return {column: files[index :: len(columns)] for index, column in enumerate(columns)}
