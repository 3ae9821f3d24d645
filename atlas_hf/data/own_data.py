"""A task of one's own: from a `datasets.Dataset`, a table, a folder of images with a CSV, or a data set on the Hub.

`infer_spec` says what the columns show; it can be set: the columns, the problem type, the label names.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from atlas_hf.data.columns import LISTS, label_to_learn, taken_and_left, texts_to_read
from atlas_hf.data.faults import short
from atlas_hf.data.looking import look_at, mark_as_good
from atlas_hf.data.reading import SPLITS, Data, check_columns, read_splits
from atlas_hf.tasks import TaskSpec

logger = logging.getLogger(__name__)
HELD_OUT = 0.1  # share of the training rows that a split which is not there gets
# Of fewer rows, a tenth is less than 50, whose accuracy has a standard error of 7 points: it chooses no state, and the
# rows are worth more to learn from.
FEW_ROWS = 500


def own_task(
    data: Data, name: str, *, spec: TaskSpec | None = None, seed: int = 0, quiet: bool = False, **columns: Any
) -> tuple[TaskSpec, DatasetDict]:
    """A task for `learn_sequence`: its spec and its splits.

    Args:
        data: a `Dataset` or `DatasetDict`; a file (CSV, TSV, JSON lines or Parquet); a folder, with one CSV per split
            whose paths are relative to it, or in another layout that `load_dataset` reads (`imagefolder`, Parquet
            ...); or a Hub id.
        spec: what the task is; by default `infer_spec` of the data.
        seed: of the rows held out where the data have no `validation` or `test`: a tenth for each. Of fewer than 500
            training rows none are held out for `validation`: the last state counts, and all are learned from.
        quiet: no progress bar while all rows are looked at (`atlas_hf.data.looking.look_at`).
        columns: arguments of `infer_spec`.

    Raises:
        ValueError: nothing to read, columns that are not there, or too many to choose from; or the faults of all rows,
            in one message.
    """
    given = {kind: getattr(spec, kind) if spec else columns.get(kind) for kind in ("image_columns", "text_columns")}
    splits = read_splits(data, *(_as_tuple(value or ()) for value in given.values()))
    spec = spec or infer_spec(splits["train"], name, **columns)
    encoded, faults = {}, list[str]()
    for split, rows in splits.items():
        check_columns(rows, spec.columns)
        encoded[split], unknown = _encode_labels(rows, spec, split)
        faults += unknown
    look_at(spec, encoded, quiet=quiet, known=faults)
    held_out = _hold_out(encoded, seed)
    mark_as_good(spec, held_out.values())
    return spec, held_out


def _hold_out(splits: Mapping[str, Dataset], seed: int) -> DatasetDict:
    """The splits train, validation and test; one that is not there gets a tenth of the training rows, by seed.

    Of few rows, those that would be `validation` are learned from; `test` is the same tenth as of many.
    """
    train, found = splits["train"], dict(splits)
    order = list(np.random.default_rng(seed).permutation(len(train)))
    size, kept = max(1, round(HELD_OUT * len(train))), list[int]()
    for split in SPLITS[1:]:
        if split not in splits:
            held, order = order[:size], order[size:]
            if split == "validation" and len(train) < FEW_ROWS:
                kept = held
            else:
                found[split] = train.select(sorted(held))
    rows = {"train": train.select(sorted([*order, *kept]))}
    return DatasetDict(rows | {split: found[split] for split in SPLITS[1:] if split in found})


def may_be_of(examples: int, splits: Mapping[str, Dataset]) -> bool:
    """May a task have been learned from so many training examples of these splits?

    From all, or from all but a tenth: older versions held that out of few to choose a state by (`FEW_ROWS`).
    """
    more = len(splits["train"]) - examples
    tenths = () if "validation" in splits else (len(splits["test"]), max(1, round(HELD_OUT * len(splits["train"]))))
    return more == 0 or more in tenths


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
        image_columns: by default all columns of images.
        text_columns: by default the only column of strings that is none of those that `columns.texts_to_read` leaves:
            the label in other words, identifiers, or the same in every row. What was taken and left is logged.
        label_column: by default `label`, the only `ClassLabel` column, or of two columns the one that holds a few
            words or whole numbers, again and again.
        choices_column: a list of strings per row; makes it a multiple choice.
        problem_type: by default what the label is: a class or a string, a list (multi-label), a fraction (regression);
            two images make a pair.

    Raises:
        ValueError: a column that does not exist, with those that do; several columns of texts, or none; fewer than two
            labels, or as many as rows; a label that may be a class or a number.
    """
    features = rows.features
    label = label_column or label_to_learn(rows)
    given = (*_as_tuple(image_columns or ()), *_as_tuple(text_columns or ()), label, *_as_tuple(choices_column or ()))
    check_columns(rows, given)
    images = _of_type(features, Image) if image_columns is None else _as_tuple(image_columns)
    kind = problem_type or _problem_type(rows, label, images, choices_column)
    texts = _as_tuple(text_columns or ())
    if text_columns is None:
        texts, left = texts_to_read(rows, label, images, choices_column)
        inputs = (*images, *texts, *_as_tuple(choices_column or ()))
        logger.log(logging.WARNING if left else logging.INFO, "%s", taken_and_left(label, inputs, left))
    return TaskSpec(
        name,
        kind,
        image_columns=images,
        text_columns=texts,
        choices_column=choices_column,
        num_choices=_number_of_choices(rows, choices_column) if kind == "multiple_choice" else None,
        label_column=label,
        label_names=None if kind in ("multiple_choice", "regression") else _label_names(rows, label),
        random_baseline=0.0 if kind in ("multi_label_classification", "regression") else _most_frequent(rows[label]),
    )


def _problem_type(rows: Dataset, column: str, images: Sequence[str], choices_column: str | None) -> str:
    label = rows.features[column]
    if choices_column:
        return "multiple_choice"
    if isinstance(label, LISTS):
        return "multi_label_classification"
    if isinstance(label, Value) and label.dtype.startswith("float"):
        values = {value for value in rows[column] if value is not None}
        if all(value.is_integer() for value in values) and len(values) <= len(rows) / 2:
            raise ValueError(
                f"The column '{column}' holds whole numbers as fractions, such as {short(next(iter(values), None))}: "
                "classes, with empty cells perhaps, or amounts? Cast it to int64, or name problem_type "
                "(--problem-type): 'single_label_classification' or 'regression'."
            )
        return "regression"
    return "image_pair" if len(images) == 2 else "single_label_classification"


def _label_names(rows: Dataset, column: str) -> tuple[str, ...]:
    """Those of a `ClassLabel`, or the distinct values: numbers by size, others by the alphabet."""
    feature = rows.features[column]
    several = isinstance(feature, LISTS)
    feature = feature.feature if several else feature
    if isinstance(feature, ClassLabel):
        return tuple(feature.names)
    if not isinstance(feature, Value):
        raise ValueError(
            f"The column '{column}' holds {type(feature).__name__}, no labels. Name another label_column."
        )
    labels = [value for label in rows[column] for value in ((label or ()) if several else [label])]
    values = {value for value in labels if value is not None}
    if len(values) < 2:
        raise ValueError(
            f"The column '{column}' holds {sorted(map(str, set(labels)))}; a task needs two labels or more, and one "
            "in every row."
        )
    if len(values) == len(labels) > 2 and not several:
        raise ValueError(
            f"The column '{column}' holds another label in every row, such as {short(labels[0])}; classes occur more "
            "than once. Name another label_column, or problem_type='regression' for numbers."
        )
    return tuple(str(value) for value in sorted(values))


def _number_of_choices(rows: Dataset, column: str | None) -> int:
    """That of most rows; `look_at` names the others."""
    counts = Counter(len(choices) for choices in rows[column] if isinstance(choices, list)) if column else Counter()
    if not counts:
        raise ValueError(f"The column {column!r} holds no lists of choices. Name choices_column (--choices-column).")
    return counts.most_common(1)[0][0]


def _encode_labels(rows: Dataset, spec: TaskSpec, split: str) -> tuple[Dataset, list[str]]:
    """Labels as the ids of `spec.label_names`, and the rows with a label that is not there."""
    column, feature = spec.label_column, rows.features[spec.label_column]
    if spec.label_names is None or feature == spec.features[column]:
        return rows, []
    several, ids = isinstance(feature, LISTS), {name: i for i, name in enumerate(spec.label_names)}
    kind = feature.feature if several else feature
    text = kind.int2str if isinstance(kind, ClassLabel) else str
    encoded: list[Any] = []
    faults = []
    for row, label in enumerate(rows[column]):
        if label is None:  # `look_at` says so
            encoded.append(None)
            continue
        names = ["" if value is None else text(value) for value in (label if several else [label])]
        unknown = [name for name in names if name not in ids]
        if unknown:
            known = ", ".join(spec.label_names)
            faults.append(
                f"row {row} of '{split}' has the label {short(unknown[0])} in '{column}'; label_names are {known}."
            )
        found = [ids.get(name, 0) for name in names]  # with a fault, nothing comes of it
        encoded.append(found if several else found[0])
    return rows.remove_columns(column).add_column(column, encoded, feature=spec.features[column]), faults


def _most_frequent(labels: Sequence[Any]) -> float:
    """Share of the most frequent label, below 1."""
    share = max(Counter(label for label in labels if label is not None).values(), default=0) / len(labels)
    return share if share < 1 else 0.0


def _of_type(features: Features, kind: type) -> tuple[str, ...]:
    return tuple(name for name, feature in features.items() if isinstance(feature, kind))


def _as_tuple(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
