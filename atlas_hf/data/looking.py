"""A look at all data before anything is trained or written: one message lists what is wrong in any split.

Every image is decoded once, the way a training does it, which is the only sure way. On one core, 3,000 drawn scenes of
`digits` take 0.2 s, 3,000 photos of 640 x 480 in JPEG 4 s, and 20,000 short texts 0.1 s.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from datasets import ClassLabel, Dataset, Image, LargeList, List, Value
from datasets.utils import tqdm

from atlas_hf.data.faults import input_faults, short
from atlas_hf.data.leaks import warn_of_leaks
from atlas_hf.data.pixels import UNREADABLE, pixels
from atlas_hf.data.rows import without_format
from atlas_hf.tasks import TaskSpec

SHOWN = 10  # faults of one message
BATCH = 32  # rows that are held at a time: images may be large
TEXT = ("string", "large_string", "string_view")  # pandas reads a CSV as the second
ONE_CLASS = ("single_label_classification", "image_pair")
# Data sets do not change, so that one that was found good is not looked at again.
_GOOD: WeakKeyDictionary[Dataset, set[TaskSpec]] = WeakKeyDictionary()


def look_at(spec: TaskSpec, splits: Mapping[str, Dataset], *, quiet: bool = False, known: Sequence[str] = ()) -> None:
    """Raise one `ValueError` that lists the faults of all splits, with split, row, column and what to do.

    Faults are: no rows, a column that is not there or of the wrong type, an empty cell (None; an empty string is a
    text), choices of another number, an image that cannot be read, a label or score that the head cannot express, and
    a split `train` with one class only. Not looked at are what a transform of the user's own (`with_transform`) makes,
    but for the labels, and images behind a URL. A warning are rows of `train` in other splits.

    Args:
        quiet: no progress bar; there is none for a look of less than two seconds either.
        known: faults that were found before.
    """
    _check_kinds(splits)
    fresh = {split: rows for split, rows in splits.items() if spec not in _GOOD.get(rows, ())}
    shown, count = list(known[:SHOWN]), len(known)
    total, name = sum(map(len, fresh.values())), f"Looking at the data of '{spec.name}'"
    with tqdm(total=total, desc=name, unit=" rows", delay=2, disable=quiet) as bar:
        for split, rows in fresh.items():
            for fault in _faults(spec, rows, split, bar):
                count += 1
                if count <= SHOWN:
                    shown.append(fault)
    if count:
        raise ValueError(_message(spec, shown, count))
    if fresh:
        warn_of_leaks(spec, splits)
    mark_as_good(spec, fresh.values())


def sizes(spec: TaskSpec, splits: Mapping[str, Dataset]) -> str:
    """How many examples a task has of each kind, and what it chooses from, as one line."""
    counts = ", ".join(f"{len(splits.get(split, ())):,} {split}" for split in ("train", "validation", "test"))
    kinds = {"regression": "a number each", "multiple_choice": f"{spec.rows_per_example} choices"}
    return f"{spec.name}: {counts}, {kinds.get(spec.problem_type, f'{spec.num_labels} classes')}"


def _check_kinds(splits: Mapping[str, Any]) -> None:
    for split, rows in splits.items():
        if not isinstance(rows, Dataset):
            raise ValueError(
                f"The split '{split}' is a {type(rows).__name__}; give a datasets.Dataset: all rows are looked at "
                "before training. Give one split of a DatasetDict, load it without streaming, or make one: "
                "Dataset.from_list, Dataset.from_generator."
            )


def mark_as_good(spec: TaskSpec, splits: Iterable[Dataset]) -> None:
    """Remember that these were looked at: parts of a data set that was."""
    for rows in splits:
        _GOOD.setdefault(rows, set()).add(spec)


def _message(spec: TaskSpec, shown: Sequence[str], count: int) -> str:
    if count == 1:
        return f"Task '{spec.name}': {shown[0]}"
    which = f", of which these are the first {len(shown)}" if count > len(shown) else ""
    listed = "\n".join(f"- {fault}" for fault in shown)
    return f"Task '{spec.name}': its data have {count} faults{which}. Rows count from 0.\n{listed}"


def _faults(spec: TaskSpec, rows: Dataset, split: str, bar: Any) -> Iterator[str]:
    missing = [column for column in spec.columns if column not in rows.column_names]
    if not len(rows) or missing or rows.format["type"] == "custom":
        try:
            spec.check_dataset(rows, split)
        except ValueError as error:
            yield str(error).removeprefix(f"Task '{spec.name}': ")
        except KeyError as error:
            yield f"the transform of '{split}' (with_transform) leaves out the column {error}. Let it keep that."
        return
    rows = without_format(rows).select_columns(list(spec.columns))
    wrong = list(_wrong_types(spec, rows, split))
    if wrong:
        yield from wrong
        return
    yield from _row_faults(spec, rows, split, bar)


def _wrong_types(spec: TaskSpec, rows: Dataset, split: str) -> Iterator[str]:
    yield from _other_ids(spec, rows, split)
    for column, feature in rows.features.items():
        where = f"the column '{column}' of '{split}' holds {_type(feature)}"
        if column in spec.image_columns and not (isinstance(feature, Image) and feature.decode):
            yield f"{where}, no images; cast it: dataset.cast_column('{column}', datasets.Image())."
        text = isinstance(feature, Value) and feature.dtype in (*TEXT, "null")
        if column in spec.text_columns and not text:
            yield f"{where}, no texts; cast it: dataset.cast_column('{column}', datasets.Value('string'))."
        if column == spec.choices_column and isinstance(feature, (List, LargeList)):
            inner = feature.feature
            if not (isinstance(inner, Value) and inner.dtype in (*TEXT, "null")):
                yield f"{where}, no lists of texts; give lists of strings."


def _other_ids(spec: TaskSpec, rows: Dataset, split: str) -> Iterator[str]:
    """Labels that the data set and the task both name, by other ids: the right words would be learned as wrong."""
    feature, own = rows.features[spec.label_column], spec.label_names or ()
    kind = feature.feature if isinstance(feature, (List, LargeList)) else feature
    names = kind.names if isinstance(kind, ClassLabel) else []
    if any(name in own and own.index(name) != place for place, name in enumerate(names)):
        ids = short({name: place for place, name in enumerate(own)})
        yield (
            f"the column '{spec.label_column}' of '{split}' has the labels {', '.join(names[:10])} in this order, the "
            f"task {', '.join(own[:10])}. Give both the same: label_names, or "
            f"dataset.align_labels_with_mapping({ids}, '{spec.label_column}')."
        )


def _type(feature: Any) -> str:
    if isinstance(feature, (List, LargeList)):
        return f"lists of {_type(feature.feature)}"
    return feature.dtype if isinstance(feature, Value) else type(feature).__name__


def _row_faults(spec: TaskSpec, rows: Dataset, split: str, bar: Any) -> Iterator[str]:
    images = {column: _Images(rows.features[column], column) for column in spec.image_columns}
    for column in images:
        rows = rows.cast_column(column, Image(decode=False))
    labels: Counter[Any] = Counter()
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        size = len(batch[spec.label_column])
        for i in range(size):
            row = {column: values[i] for column, values in batch.items()}
            found = [fault for column, look in images.items() for fault in look.faults(row[column])]
            label = row[spec.label_column]
            wrong = [*found, *input_faults(spec, row), *spec.label_faults(label, row.get(spec.score_column or ""))]
            yield from (f"row {start + i} of '{split}' {fault}" for fault in wrong)
            if not wrong:
                labels[bool(label) if isinstance(label, list) else label] += 1
        bar.update(size)
    if split == "train":
        yield from _too_few_classes(spec, labels)


def _too_few_classes(spec: TaskSpec, labels: Counter[Any]) -> Iterator[str]:
    """Of rows without a fault: there may be none."""
    if spec.problem_type in ONE_CLASS and spec.label_names and len(labels) == 1 and labels.total() > 1:
        only = spec.label_names[next(iter(labels))]
        yield (
            f"'train' holds the label {only!r} only, in all of its {labels.total()} rows of '{spec.label_column}'. "
            "Give examples of two labels or more."
        )
    if spec.problem_type == "multi_label_classification" and set(labels) == {False}:
        yield f"'train' has no label in any row of '{spec.label_column}'. Give rows with class ids."


class _Images:
    """The images of a column, each file or bytes decoded once, however often it occurs."""

    def __init__(self, feature: Image, column: str) -> None:
        self.feature, self.column = feature, column
        self.good: set[int] = set()

    def faults(self, value: Mapping[str, Any] | None) -> Iterator[str]:
        data = None if value is None else value["path"] if value["bytes"] is None else value["bytes"]
        if data is None:
            yield f"has no image in '{self.column}'. Give one, or leave the row out."
            return
        key = hash(data)
        if key in self.good or (isinstance(data, str) and "://" in data):
            return
        try:
            pixels(self.feature.decode_example(value))
            self.good.add(key)
        except FileNotFoundError:
            yield f"has an image in '{self.column}' that is not there: no file {data}. Put it there, or mend the path."
        except UNREADABLE as error:
            name = short(value["path"]) if value and value["path"] else f"{len(data)} bytes"
            yield (
                f"has in '{self.column}' an image that cannot be read, {name}: {error} Replace it, or leave the row "
                "out."
            )
