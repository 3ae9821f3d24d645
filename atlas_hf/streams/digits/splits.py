"""The splits of a task as data sets: rows in plain columns, scenes as PNG files in the split's handwriting."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from atlas_hf.streams.digits.examples import Row
from atlas_hf.streams.digits.scenes import SPLITS, Scene, handwriting, png, write_scenes
from atlas_hf.streams.digits.tasks import DigitTask


def build_split(task: DigitTask, split: str, size: int, seed: int) -> Dataset:
    """`size` rows that depend on the task's name, the split and the seed; fewer are the beginning of more."""
    entropy = [seed, zlib.crc32(task.spec.name.encode()), SPLITS.index(split)]
    rng, hands = (np.random.default_rng([*entropy, stream]) for stream in range(2))
    rows = [task.example(rng, split) for _ in range(size)]
    columns = {column: [row[column] for row in rows] for column in task.spec.features}
    if task.spec.image_columns:
        columns |= _images(task.spec.image_columns, rows, split, hands)
    return Dataset.from_dict(columns, features=task.spec.features)


def _images(columns: Sequence[str], rows: Sequence[Row], split: str, rng: np.random.Generator) -> dict[str, list[Any]]:
    scenes: list[Scene] = [row[column] for row in rows for column in columns]
    digits = np.array([scene.digits for scene in scenes]).reshape(-1, 4)
    colours = np.array([scene.colours for scene in scenes]).reshape(-1, 4)
    pictures = write_scenes(digits, colours, handwriting(split), rng)
    files = [{"bytes": png(pixels), "path": None} for pixels in pictures]
    return {column: files[index :: len(columns)] for index, column in enumerate(columns)}
