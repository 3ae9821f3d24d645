"""What can be wrong with a row: of a batch, where the first fault stops, and of a data set, where all are listed."""

from collections.abc import Iterator, Mapping
from reprlib import Repr
from typing import Any

from PIL import Image

from atlas_hf.tasks import TaskSpec

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def short(value: Any) -> str:
    """A value as a message shows it."""
    return _SHORT.repr(value)


def input_faults(spec: TaskSpec, row: Mapping[str, Any]) -> Iterator[str]:
    """What keeps a row from being read, but for its images, each as "has ... in ...; what to do"."""
    yield from _choices_faults(spec, row)
    for column in spec.text_columns:
        if not isinstance(row[column], str):
            yield _no_text(row[column], column)
    if spec.audio_column and row[spec.audio_column] is None:
        yield f"has no sound in '{spec.audio_column}'. Give one, or leave the row out."


def _choices_faults(spec: TaskSpec, row: Mapping[str, Any]) -> Iterator[str]:
    column = spec.choices_column
    if not column:
        return
    choices = row[column]
    if not isinstance(choices, (list, tuple)) or len(choices) != spec.num_choices:
        listed = isinstance(choices, (list, tuple))
        count = f"{len(choices)} choices" if listed else f"{short(choices)} as choices"
        yield (
            f"has {count}; the task has {spec.num_choices} in every row. Fill up or drop choices in '{column}', or "
            "make two tasks of it."
        )
        return
    for choice in choices:
        if not isinstance(choice, str):
            yield _no_text(choice, column)


def _no_text(value: Any, column: str) -> str:
    return (
        f"has a text that is not a string: {short(value)}. Give strings in '{column}', '' for an empty one, or leave "
        "the row out."
    )


def image_fault(value: Any, column: str) -> str | None:
    """What is wrong with a row's image, if it is none."""
    if isinstance(value, Image.Image):
        return None
    return (
        f"has {type(value).__name__} in the image column '{column}'; give a PIL image (a column with the "
        "`datasets.Image` feature, in no format but Python's own), or leave the row out."
    )
