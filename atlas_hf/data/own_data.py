"""A task of one's own: from a `datasets.Dataset`, a folder of images with a CSV, or a data set on the Hub.

`infer_spec` says what the columns show; it can be set: the columns, the problem type, the label names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from datasets import Dataset, DatasetDict, Image, load_dataset
from datasets.exceptions import DatasetNotFoundError

from atlas_hf.data.inferring import as_tuple, check_columns, encode_labels, infer_spec
from atlas_hf.tasks import TaskSpec

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # share of the training rows that a split which is not there gets
METADATA = "metadata.csv"  # marks the `imagefolder` layout of `datasets`
Data: TypeAlias = str | Path | Dataset | DatasetDict


def own_task(
    data: Data, name: str, *, spec: TaskSpec | None = None, seed: int = 0, **columns: Any
) -> tuple[TaskSpec, DatasetDict]:
    """A task for `learn_sequence`: its spec and its splits.

    Args:
        data: a `Dataset` or `DatasetDict`; a folder, with one CSV per split whose paths are relative to it, or in
            another layout that `load_dataset` reads (`imagefolder`, Parquet ...); or a Hub id.
        name: of the task.
        spec: what the task is; by default `infer_spec` of the data.
        seed: of the rows held out where the data have no `validation` or `test`: a tenth for each.
        columns: arguments of `infer_spec`.

    Raises:
        ValueError: nothing to read, a column, image or label that is not there, or fewer than two labels.
    """
    splits = read_data(data, as_tuple((spec.image_columns if spec else columns.get("image_columns")) or ()))
    spec = spec or infer_spec(splits["train"], name, **columns)
    check_columns(splits["train"], (*spec.input_columns, spec.label_column))
    splits = {split: encode_labels(rows, spec, split) for split, rows in splits.items()}
    return spec, hold_out(splits, seed)


def read_data(data: Data, image_columns: Sequence[str] = ()) -> dict[str, Dataset]:
    """The splits as they are given; a `ValueError` for other names than `SPLITS`."""
    if isinstance(data, Dataset):
        data = DatasetDict(train=data)
    if not isinstance(data, DatasetDict):
        data = _read(str(data), image_columns)
    unknown = sorted(set(data) - set(SPLITS))
    if "train" not in data or unknown:
        raise ValueError(f"The data have the splits {list(data)}; possible are {list(SPLITS)}, and train is needed.")
    empty = [split for split, rows in data.items() if len(rows) == 0]
    if empty:
        raise ValueError(f"The split {', '.join(map(repr, empty))} holds no rows; give at least one.")
    return dict(data)


def _read(place: str, image_columns: Sequence[str]) -> Mapping[str, Dataset]:
    folder = Path(place)
    tables = sorted(folder.glob("*.csv"))
    try:
        if not tables or (folder / METADATA).is_file():
            return load_dataset(place)
    except (DatasetNotFoundError, FileNotFoundError) as error:
        raise ValueError(f"There are no data in {place!r}: {error} Give a folder, or the id of a data set.") from error
    named = {table.stem: table for table in tables}
    named = named if "train" in named else {"train": tables[0]} if len(tables) == 1 else named
    rows = load_dataset("csv", data_files={split: str(table) for split, table in named.items()})
    return {split: _with_images(rows[split], folder, table, image_columns) for split, table in named.items()}


def _with_images(rows: Dataset, folder: Path, table: Path, columns: Sequence[str]) -> Dataset:
    """Paths of a table as images: of these columns, or of those whose first row names a file.

    They are opened when a row is read; that they are there is checked now.
    """
    check_columns(rows, columns)
    for column in columns or [name for name, value in next(iter(rows), {}).items() if (folder / str(value)).is_file()]:
        paths = [folder / str(path) for path in rows[column]]
        for row, path in enumerate(paths):
            if not path.is_file():
                raise ValueError(f"Row {row} of {table.name} names the image {rows[column][row]!r}: no file {path}.")
        files = rows.remove_columns(column).add_column(column, list(map(str, paths))).cast_column(column, Image())
        rows = files.select_columns(rows.column_names)
    return rows


def hold_out(splits: Mapping[str, Dataset], seed: int) -> DatasetDict:
    """The splits train, validation and test; one that is not there gets a tenth of the training rows, by seed."""
    train, found = splits["train"], dict(splits)
    order = list(np.random.default_rng(seed).permutation(len(train)))
    size = max(1, round(HELD_OUT * len(train)))
    for split in SPLITS[1:]:
        if split not in splits:
            found[split], order = train.select(sorted(order[:size])), order[size:]
    return DatasetDict({"train": train.select(sorted(order))} | {split: found[split] for split in SPLITS[1:]})
