"""What a user passes to `predict`, as rows of the task's data set."""

from collections.abc import Mapping, Sequence
from typing import Any

from atlas_hf.data.pixels import pixels
from atlas_hf.tasks import TaskSpec


def example_rows(
    spec: TaskSpec, images: Any, texts: Any, choices: Any, audio: Any = None
) -> tuple[list[dict[str, Any]], bool]:
    """What a user passes to `predict`, as rows of the task's data set, and whether it was a single example.

    Raises a `ValueError` if an input is missing or too much, or if the numbers of examples differ.
    """
    _check_given(spec, {"images": images, "texts": texts, "choices": choices, "audio": audio})
    columns: dict[str, list[Any]] = {}
    single = True
    if spec.image_columns:
        single = not isinstance(images, list)
        columns |= _columns(spec, spec.image_columns, [images] if single else images)
    if spec.text_columns:
        single = not _several(texts)
        columns |= _columns(spec, spec.text_columns, [texts] if single else list(texts))
    if spec.choices_column:
        several = isinstance(choices, list) and any(isinstance(row, list) for row in choices)
        single = single and not several
        columns[spec.choices_column] = choices if several else [choices]
    if spec.audio_column:
        single = not isinstance(audio, list)
        columns[spec.audio_column] = [audio] if single else audio
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"Task '{spec.name}': the numbers of examples differ: {counts}. Give as many of each.")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)], single


def _several(texts: Any) -> bool:
    """A list, or a column of a data set or table; a tuple is one example of several texts."""
    return isinstance(texts, Sequence) and not isinstance(texts, (str, bytes, tuple))


def _check_given(spec: TaskSpec, inputs: Mapping[str, Any]) -> None:
    wanted = {"images": spec.image_columns, "texts": spec.text_columns, "choices": spec.choices_column}
    needed = [name for name, columns in (wanted | {"audio": spec.audio_column}).items() if columns]
    given = [name for name, value in inputs.items() if value is not None]
    if given != needed:
        raise ValueError(
            f"Task '{spec.name}' takes {' and '.join(needed)}; given were {' and '.join(given) or 'none'}."
        )


def _columns(spec: TaskSpec, names: tuple[str, ...], values: list[Any]) -> dict[str, list[Any]]:
    """Split values that are tuples, one item per column."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    if any(len(row) != len(names) for row in rows):
        given = next(len(row) for row in rows if len(row) != len(names))
        way = ", as a tuple" if len(names) > 1 else ""
        raise ValueError(
            f"Task '{spec.name}' takes {len(names)} item(s) per example{way}: {', '.join(names)}; given were {given}. "
            "On a command line, an item with spaces needs quotes around it."
        )
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def without_format(rows: Any) -> Any:
    """A `datasets.Dataset` that gives Python's own values, whatever format it is in; anything else as it is.

    In the format of torch or numpy an image of a palette is numbers of colours. A transform of the user's own stays.
    """
    return rows if getattr(rows, "format", {"type": None})["type"] in (None, "custom") else rows.with_format(None)


def opened(spec: TaskSpec, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the images of their paths, bytes and arrays; of a batch at a time, as they may be many."""
    return [
        dict(row) | {name: pixels(row[name]) for name in spec.image_columns if row[name] is not None} for row in rows
    ]


def by_length(rows: Any, spec: TaskSpec) -> list[int]:
    """The numbers of the rows, those with the shortest text first, so that batches of neighbours are padded little.

    `rows` is a `datasets.Dataset`, or a list of rows; of rows without text the order stays.
    """
    columns = [*spec.text_columns, *([spec.choices_column] if spec.choices_column else [])]
    if not columns:
        return list(range(len(rows)))
    texts = without_format(rows)
    if set(columns) <= set(getattr(texts, "column_names", ())) and texts.format["type"] is None:
        texts = texts.select_columns(columns)  # images would be decoded; a transform may need, and make, other columns
    lengths = [sum(len(str(row[column])) for column in columns) for row in texts]
    return sorted(range(len(lengths)), key=lengths.__getitem__)
