"""What a task is, as far as the columns of its data show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from datasets import ClassLabel, Dataset, Features, Image, List, Value

from atlas_hf.tasks import TaskSpec


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
        rows: the training split.
        name: of the task.
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
    given = (*as_tuple(image_columns or ()), *as_tuple(text_columns or ()), label, *as_tuple(choices_column or ()))
    check_columns(rows, given)
    images = _of_type(features, Image) if image_columns is None else as_tuple(image_columns)
    texts = tuple(name for name in _of_type(features, Value) if name != label and _is_text(features[name]))
    kind = problem_type or _problem_type(features[label], images, choices_column)
    classes = kind not in ("multiple_choice", "regression")
    return TaskSpec(
        name,
        kind,
        image_columns=images,
        text_columns=texts if text_columns is None else as_tuple(text_columns),
        choices_column=choices_column,
        num_choices=len(rows[0][choices_column]) if kind == "multiple_choice" else None,
        label_column=label,
        label_names=_label_names(rows, label) if classes else None,
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


def encode_labels(rows: Dataset, spec: TaskSpec, split: str) -> Dataset:
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


def _is_text(feature: Value) -> bool:
    return feature.dtype in ("string", "large_string")  # pandas reads a CSV as the latter


def as_tuple(value: str | Sequence[str]) -> tuple[str, ...]:
    """One column, or several, as several."""
    return (value,) if isinstance(value, str) else tuple(value)


def check_columns(rows: Dataset, columns: Sequence[str]) -> None:
    """Raises a `ValueError` for columns that are not there, with those that are."""
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        found = ", ".join(map(repr, rows.column_names))
        raise ValueError(f"There is no column {', '.join(map(repr, missing))}; found were {found}.")
