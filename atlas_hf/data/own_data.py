"""A task of one's own: from a `datasets.Dataset`, a folder of images with a CSV, or a data set on the Hub.

`infer_spec` says what the columns show; it can be set: the columns, the problem type, the label names.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value, load_dataset
from datasets.exceptions import DatasetNotFoundError

from atlas_hf.tasks import TaskSpec

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # share of the training rows that a split which is not there gets
METADATA = "metadata.csv"  # marks the `imagefolder` layout of `datasets`
TEXT = ("string", "large_string")  # pandas reads a CSV as the latter
Data: TypeAlias = str | Path | Dataset | DatasetDict


def own_task(
    data: Data, name: str, *, spec: TaskSpec | None = None, seed: int = 0, **columns: Any
) -> tuple[TaskSpec, DatasetDict]:
    """A task for `learn_sequence`: its spec and its splits.

    Args:
        data: a `Dataset` or `DatasetDict`; a folder, with one CSV per split whose paths are relative to it, or in
            another layout that `load_dataset` reads (`imagefolder`, Parquet ...); or a Hub id.
        spec: what the task is; by default `infer_spec` of the data.
        seed: of the rows held out where the data have no `validation` or `test`: a tenth for each.
        columns: arguments of `infer_spec`.

    Raises:
        ValueError: nothing to read, a column, image or label that is not there, or fewer than two labels.
    """
    splits = _read_data(data, _as_tuple((spec.image_columns if spec else columns.get("image_columns")) or ()))
    spec = spec or infer_spec(splits["train"], name, **columns)
    _check_columns(splits["train"], (*spec.input_columns, spec.label_column))
    splits = {split: _encode_labels(rows, spec, split) for split, rows in splits.items()}
    return spec, _hold_out(splits, seed)


def _read_data(data: Data, image_columns: Sequence[str] = ()) -> dict[str, Dataset]:
    """The splits as they are given; a `ValueError` for other names than `SPLITS`."""
    if isinstance(data, Dataset):
        data = DatasetDict(train=data)
    if not isinstance(data, DatasetDict):
        data = _read(str(data), image_columns)
    if "train" not in data or not set(data) <= set(SPLITS):
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
    _check_columns(rows, columns)
    for column in columns or [name for name, value in next(iter(rows), {}).items() if (folder / str(value)).is_file()]:
        paths = [folder / str(path) for path in rows[column]]
        for row, path in enumerate(paths):
            if not path.is_file():
                raise ValueError(f"Row {row} of {table.name} names the image {rows[column][row]!r}: no file {path}.")
        files = rows.remove_columns(column).add_column(column, list(map(str, paths))).cast_column(column, Image())
        rows = files.select_columns(rows.column_names)
    return rows


def _hold_out(splits: Mapping[str, Dataset], seed: int) -> DatasetDict:
    """The splits train, validation and test; one that is not there gets a tenth of the training rows, by seed."""
    train, found = splits["train"], dict(splits)
    order = list(np.random.default_rng(seed).permutation(len(train)))
    size = max(1, round(HELD_OUT * len(train)))
    for split in SPLITS[1:]:
        if split not in splits:
            found[split], order = train.select(sorted(order[:size])), order[size:]
    return DatasetDict({"train": train.select(sorted(order))} | {split: found[split] for split in SPLITS[1:]})


def infer_spec(
    rows: Dataset,
    name: str,
    *,
    image_columns: Sequence[str] | None = None,
    text_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    choices_column: str | None = None,
    problem_type: str | None = None,
) -> TaskSpec:
    """What the task is, as far as its training rows show it.

    Args:
        image_columns, text_columns: by default all columns of images, and all of strings that are not the label.
        label_column: by default `label`, or the only `ClassLabel` column.
        choices_column: a list of strings per row; makes it a multiple choice.
        problem_type: by default what the label is: a class or a string, a list (multi-label), a fraction (regression);
            two images make a pair.

    Raises:
        ValueError: a column that does not exist, with those that do; fewer than two labels.
    """
    features = rows.features
    label = label_column or _label_column(features)
    given = (*_as_tuple(image_columns or ()), *_as_tuple(text_columns or ()), label, *_as_tuple(choices_column or ()))
    _check_columns(rows, given)
    images = _of_type(features, Image) if image_columns is None else _as_tuple(image_columns)
    texts = tuple(name for name in _of_type(features, Value) if name != label and features[name].dtype in TEXT)
    kind = problem_type or _problem_type(features[label], images, choices_column)
    return TaskSpec(
        name,
        kind,
        image_columns=images,
        text_columns=texts if text_columns is None else _as_tuple(text_columns),
        choices_column=choices_column,
        num_choices=len(rows[0][choices_column]) if kind == "multiple_choice" else None,
        label_column=label,
        label_names=None if kind in ("multiple_choice", "regression") else _label_names(rows, label),
        random_baseline=0.0 if kind in ("multi_label_classification", "regression") else _most_frequent(rows[label]),
    )


def _label_column(features: Features) -> str:
    found = ("label",) if "label" in features else _of_type(features, ClassLabel)
    if len(found) != 1:
        raise ValueError(f"Which column is the label? There are {', '.join(map(repr, features))}. Name label_column.")
    return found[0]


def _problem_type(label: Any, images: Sequence[str], choices_column: str | None) -> str:
    if choices_column:
        return "multiple_choice"
    if isinstance(label, List):
        return "multi_label_classification"
    if isinstance(label, Value) and label.dtype.startswith("float"):
        return "regression"
    return "image_pair" if len(images) == 2 else "single_label_classification"


def _label_names(rows: Dataset, column: str) -> tuple[str, ...]:
    """Those of a `ClassLabel`, or the distinct values: numbers by size, others by the alphabet."""
    feature = rows.features[column]
    feature = feature.feature if isinstance(feature, List) else feature
    if isinstance(feature, ClassLabel):
        return tuple(feature.names)
    values = {value for label in rows[column] for value in (label if isinstance(label, list) else [label])}
    if len(values) < 2 or None in values:
        raise ValueError(
            f"The column '{column}' holds {sorted(map(str, values))}; a task needs two labels or more, and one in "
            "every row."
        )
    return tuple(str(value) for value in sorted(values))


def _encode_labels(rows: Dataset, spec: TaskSpec, split: str) -> Dataset:
    """Labels as the ids of `spec.label_names`; a `ValueError` names the first row with a label that is not there."""
    column, feature = spec.label_column, rows.features[spec.label_column]
    if spec.label_names is None or feature == spec.features[column]:
        return rows
    several, ids = isinstance(feature, List), {name: i for i, name in enumerate(spec.label_names)}
    kind = feature.feature if several else feature
    text = kind.int2str if isinstance(kind, ClassLabel) else str
    encoded = []
    for row, label in enumerate(rows[column]):
        names = [text(value) for value in (label if several else [label])]
        unknown = [name for name in names if name not in ids]
        if unknown:
            raise ValueError(
                f"Task '{spec.name}': row {row} of '{split}' has the label {unknown[0]!r} in '{column}'; label_names "
                f"are {', '.join(spec.label_names)}."
            )
        encoded.append([ids[name] for name in names] if several else ids[names[0]])
    return rows.remove_columns(column).add_column(column, encoded, feature=spec.features[column])


def _most_frequent(labels: Sequence[Any]) -> float:
    """Share of the most frequent label, below 1."""
    share = max(Counter(labels).values()) / len(labels)
    return share if share < 1 else 0.0


def _of_type(features: Features, kind: type) -> tuple[str, ...]:
    return tuple(name for name, feature in features.items() if isinstance(feature, kind))


def _as_tuple(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _check_columns(rows: Dataset, columns: Sequence[str]) -> None:
    """Raises a `ValueError` for columns that are not there, with those that are."""
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        found = ", ".join(map(repr, rows.column_names))
        raise ValueError(f"There is no column {', '.join(map(repr, missing))}; found were {found}.")
