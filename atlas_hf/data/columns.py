"""Which columns of a user's data the model shall read, never what gives the label away; and why others are left."""

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from datasets import ClassLabel, Dataset, Image, LargeList, List, Value

from atlas_hf.data.faults import short
from atlas_hf.data.looking import TEXT

LONGEST = 200  # characters of an identifier
OFTEN = 5  # rows of each class, on average
SAMPLE = 10_000  # rows, spread over all, that show what a column holds
# What stands for a row or a file, wherever it occurs ...
_NAME = re.compile(r"(.+\.(jpe?g|png|gif|bmp|webp|tiff?|svg|txt|wav|mp3|mp4|json|pdf|html?))|\w+://\S+", re.I)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
# ... and, if there are no two of a kind, a number with or without a word before it, or a digest.
_NUMBER = re.compile(r"[^\s\d]*[\d_.:/-]*\d+|[0-9a-f]{8,}|\S*[/_-]\S*\d", re.I)
_CALLED = re.compile(r"(.*_)?(id|ids|uuid|guid|idx|index|key|filename|file_name|path|url|md5|sha\d+)", re.I)
LISTS = (List, LargeList)


def texts_to_read(
    rows: Dataset, label: str, images: Sequence[str], choices: str | None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The one column of texts that the label can be told from, or none; and why each of the other columns was left.

    Left are the label in another spelling, coarser or finer, identifiers, and a text that is the same in every row.

    Raises:
        ValueError: several columns are left to choose from, or none that could be read.
    """
    sample = _sample(rows)
    labels = [_key(value) for value in sample[label]]
    options = sample[choices] if choices else None
    left: dict[str, str] = {}
    for column in rows.column_names:
        if column in (label, choices) or column in images:
            continue
        feature = rows.features[column]
        if not (isinstance(feature, Value) and feature.dtype in TEXT):
            left[column] = f"holds {getattr(feature, 'dtype', None) or type(feature).__name__}, no texts"
        elif reason := _reason(column, sample[column], labels, options):
            left[column] = reason
    found = tuple(column for column in rows.column_names if column not in (label, choices, *images, *left))
    if len(found) > 1:
        raise ValueError(
            f"Which of the columns {', '.join(map(repr, found))} shall the model read? {_listed(left)}Name "
            "text_columns (--text-column on the command line), in their order; () or '' for none."
        )
    if not found and not images and not choices:
        raise ValueError(
            f"There is no column that the model could read. {_listed(left)}If one of them is to be read, name "
            "text_columns (--text-column on the command line), or image_columns (--image-column)."
        )
    return found, left


def taken_and_left(label: str, taken: Sequence[str], left: Mapping[str, str]) -> str:
    """What was chosen, in a line."""
    return f"Read: {', '.join(map(repr, taken))}; the label: {label!r}. {_listed(left)}".strip()


def _listed(left: Mapping[str, str]) -> str:
    return f"Left: {'; '.join(f'{column!r} {reason}' for column, reason in left.items())}. " if left else ""


def _reason(column: str, values: Sequence[str | None], labels: Sequence[Any], options: Any) -> str | None:
    known = {value for value in values if value is not None}
    if len(known) < 2:
        return f"holds {short(next(iter(known), None))} in every row" if known else "is empty"
    if _CALLED.fullmatch(column) and not any(re.search(r"\s", value) for value in known):
        return f"is called as an identifier is, and holds {short(values[0])}"
    short_ones = all(len(value) <= LONGEST for value in known)
    each_once = len(known) == sum(value is not None for value in values)
    names = short_ones and all(_NAME.fullmatch(value) or _UUID.fullmatch(value) for value in known)
    numbers = short_ones and each_once and all(map(_NUMBER.fullmatch, known))
    if names or numbers:
        return f"holds identifiers, such as {short(next(value for value in values if value is not None))}"
    if options is not None and _is_the_answer(values, labels, options):
        return "holds the right choice"
    return "tells the label: each goes with one value of the other" if _tells(values, labels) else None


def _tells(values: Sequence[str | None], labels: Sequence[Hashable]) -> bool:
    """Whether a value goes with one label, or a label with one value, in rows enough to be no chance."""
    pairs = {(value, label) for value, label in zip(values, labels, strict=True) if value is not None}
    rows = sum(value is not None for value in values)
    distinct, classes = len({value for value, _ in pairs}), len({label for _, label in pairs})
    if classes < 2:
        return False
    by_value = len(pairs) == distinct and rows >= 2 * distinct
    by_label = len(pairs) == classes and rows > classes
    spelled = all(str(label) == value for value, label in pairs)
    return by_value or by_label or spelled


def _is_the_answer(values: Sequence[str | None], labels: Sequence[Any], options: Sequence[Any]) -> bool:
    rows = zip(values, labels, options, strict=True)
    return all(
        isinstance(label, int) and 0 <= label < len(given or ()) and given[label] == value
        for value, label, given in rows
        if value is not None
    )


def _sample(rows: Dataset) -> Dataset:
    return rows.with_format(None).select(range(0, len(rows), max(1, len(rows) // SAMPLE)))


def _key(value: Any) -> Hashable:
    return value if isinstance(value, Hashable) else repr(value)


def _holds_classes(rows: Dataset, column: str) -> bool:
    """Words or whole numbers, each in `OFTEN` rows on average."""
    feature = rows.features[column]
    if not isinstance(feature, Value) or not re.fullmatch(r"(large_)?string|u?int\d+|bool", feature.dtype):
        return False
    sample = _sample(rows)[column]
    return 2 <= len({value for value in sample if value is not None}) <= len(sample) / OFTEN


def label_to_learn(rows: Dataset) -> str:
    """`label`, or the only `ClassLabel`, or of two columns the only one of few values, each of which occurs often.

    A `ValueError`, with what to do, if there is none or a choice.
    """
    features = rows.features
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    found = ["label"] if "label" in features else classes
    if not found and len(features) == 2:
        found = [name for name in features if _holds_classes(rows, name)]
    if len(found) == 1:
        return found[0]
    there = ", ".join(map(repr, features))
    if all(isinstance(feature, Image) for feature in features.values()):
        raise ValueError(
            f"The data hold images ({there}) and no labels. Put the images into one folder per label "
            "(train/cat/1.png), or beside them a metadata.csv with a column file_name and one of labels."
        )
    if len(features) == 1 and re.search(r"[;\t|]", there):
        raise ValueError(f"There is a single column, {there}: is the table separated by commas?")
    if len(features) == 1:
        raise ValueError(
            f"There is a single column, {there}, and so no label to learn. A learned task answers its rows: atlas-hf "
            "predict --input."
        )
    raise ValueError(f"Which column is the label? There are {there}. Name label_column (--label-column).")
