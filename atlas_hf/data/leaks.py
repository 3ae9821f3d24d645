"""Rows that a model is trained on and scored on as well: a score on them says little about new examples."""

import logging
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from math import sqrt
from typing import Any

from datasets import Audio, Dataset, Image

from atlas_hf.tasks import TaskSpec

logger = logging.getLogger(__name__)
BATCH = 64  # rows that are held at a time: images may be large


def warn_of_leaks(spec: TaskSpec, splits: Mapping[str, Dataset]) -> None:
    """Log a warning for each split with more rows of `train` than chance explains, and for a `train` of one row.

    Rows are the same if all that the model reads is: texts, choices, the bytes of an image or a sound, or its path. A
    small world repeats itself (there are 90 pairs of digits), so as many are expected as `train` has twice itself.
    """
    if "train" not in splits or not len(splits["train"]):
        return
    train = Counter(_inputs(spec, splits["train"]))
    if len(train) == 1 and train.total() > 1:
        logger.warning(
            "Task '%s': all %d rows of 'train' have the same inputs, so there is nothing to learn from them. Look at "
            "the columns %s.", spec.name, train.total(), list(spec.input_columns),
        )  # fmt: skip
    repeated = sum(count for count in train.values() if count > 1) / train.total()
    for split, rows in splits.items():
        if split == "train":
            continue
        found = sum(inputs in train for inputs in _inputs(spec, rows))
        expected = repeated * len(rows)
        if found > expected + 3 * sqrt(expected) + 3 or (found == len(rows) and repeated < 0.5):
            logger.warning(
                "Task '%s': %d of the %d rows of '%s' have the same inputs as rows of 'train'. A score on them says "
                "little about new examples. Take them out of one of both.", spec.name, found, len(rows), split,
            )  # fmt: skip


def _inputs(spec: TaskSpec, rows: Dataset) -> Iterator[int]:
    """A digest of what the model reads of each row, images and sounds as they are stored."""
    rows = rows.with_format(None).select_columns(list(dict.fromkeys(spec.input_columns)))
    for column, feature in rows.features.items():
        if isinstance(feature, (Audio, Image)):
            rows = rows.cast_column(column, type(feature)(decode=False))
    for start in range(0, len(rows), BATCH):
        columns = rows[start : start + BATCH].values()
        yield from (hash(tuple(map(_hashable, values))) for values in zip(*columns, strict=True))


def _hashable(value: Any) -> Hashable:
    if isinstance(value, Mapping) and "bytes" in value:
        return value["path"] if value["bytes"] is None else value["bytes"]
    return value if isinstance(value, Hashable) else repr(value)
