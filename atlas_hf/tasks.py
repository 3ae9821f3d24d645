"""What a task is: one record. Nothing in the package ever asks for a task's name to decide what to do."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset, Features

PROBLEM_TYPES = (
    "single_label_classification", "multi_label_classification", "multiple_choice", "image_pair", "regression",
)  # fmt: skip
METRICS = ("accuracy", "soft_accuracy", "pearson")  # soft: the score of the answer given
DEFAULT_METRICS = {"multi_label_classification": "soft_accuracy", "regression": "pearson"}

_brief = reprlib.Repr()
_brief.maxstring, _brief.maxother = 60, 60
_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


def check_task_name(name: str) -> str:
    """Return `name` if it can be a folder, a git tag and a PEFT adapter name at once, or raise a `ValueError`.

    PEFT keys tensors by adapter name inside module paths, so a dot or a bare digit would be taken for a path; it saves
    the adapter `default` outside of any folder.
    """
    if not isinstance(name, str) or len(name) > 64 or not _NAME.fullmatch(name) or name == "default":
        raise ValueError(
            f"Task name {name!r} is not allowed. A task name is lower-case letters and digits, words joined by '-' or "
            "'_', begins with a letter, has at most 64 characters and is not 'default', for example 'visual-choice'."
        )
    return name


def plain(value: Any) -> Any:
    """An array's or tensor's numbers as Python's own; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


@dataclass(frozen=True)
class TaskSpec:
    """One data set with its head.

    Args:
        name: the task's name; also its PEFT adapter name, its folder and part of its tag on the Hub.
        problem_type: one of `PROBLEM_TYPES` (the first two and the last are transformers' own words).
        image_columns: no column (text only), one, or two for `image_pair`.
        text_columns: columns joined, in this order, with the tokenizer's separator; empty for image only.
        choices_column, num_choices: for `multiple_choice`: a column of lists, and how many strings each holds.
        label_column: class id; list of class ids for `multi_label_classification`; number for `regression`.
        score_column: for `multi_label_classification`: the soft score in [0, 1] of each id in `label_column`.
            Without it every listed id has the score 1.
        label_names: the classes in the order of their ids. None for `multiple_choice` and `regression`.
        metric: one of `METRICS`, higher is better; by default that in `DEFAULT_METRICS`, or else accuracy.
        random_baseline: the metric of somebody who guesses the most frequent label, in [0, 1].
        dataset_id: where the data comes from (a Hub id, or a name), for the card.
        description: one sentence for the card.
        audio_column: for encoders of sounds, which take nothing else: a column with the `datasets.Audio` feature, or
            of `{"array": (samples,), "sampling_rate": Hz}`.
    """

    name: str
    problem_type: str
    image_columns: tuple[str, ...] = ()
    text_columns: tuple[str, ...] = ()
    choices_column: str | None = None
    label_column: str = "label"
    score_column: str | None = None
    label_names: tuple[str, ...] | None = None
    num_choices: int | None = None
    metric: str = None  # type: ignore[assignment]  # until __post_init__ has put in the problem type's own
    random_baseline: float = 0.0
    dataset_id: str | None = None
    description: str | None = None
    audio_column: str | None = None

    def __post_init__(self) -> None:
        check_task_name(self.name)
        if self.problem_type not in PROBLEM_TYPES:
            raise self._error(f"problem_type is {self.problem_type!r}; possible are {', '.join(PROBLEM_TYPES)}.")
        for name in ("image_columns", "text_columns", "label_names"):
            object.__setattr__(self, name, self._strings(name))
        self._check_shape()
        needed = DEFAULT_METRICS.get(self.problem_type, "accuracy")
        object.__setattr__(self, "metric", needed if self.metric is None else self.metric)
        if self.metric not in METRICS:
            raise self._error(f"metric is {self.metric!r}; possible are {', '.join(METRICS)}.")
        if self.metric != needed:
            raise self._error(f"metric is {self.metric!r}; {self.problem_type} is measured by {needed!r}.")
        if not 0 <= self.random_baseline < 1:
            raise self._error(f"random_baseline is {self.random_baseline!r}; give a fraction in [0, 1).")

    def __repr__(self) -> str:
        """What is not the default, long lists cut short."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        return f"TaskSpec({', '.join(f'{name}={_brief.repr(value)}' for name, value in given.items())})"

    def _strings(self, name: str) -> tuple[str, ...] | None:
        value = getattr(self, name)
        if value is None and name == "label_names":
            return None
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
            raise self._error(f"{name} is {value!r}; give a list of strings.")
        return tuple(value)

    def _check_shape(self) -> None:
        others = self.image_columns + self.text_columns + ((self.choices_column,) if self.choices_column else ())
        if not others and not self.audio_column:
            raise self._error("it has no input; give image_columns, text_columns, choices_column or audio_column.")
        if others and self.audio_column:
            raise self._error(f"audio_column goes alone; {list(others)} cannot stand beside it.")
        images = {"image_pair": (2,)}.get(self.problem_type, (0, 1))
        if len(self.image_columns) not in images:
            raise self._error(
                f"image_columns is {list(self.image_columns)}; {self.problem_type} takes "
                f"{' or '.join(map(str, images))} image column(s)."
            )
        if self.problem_type == "multiple_choice":
            if not self.choices_column or not isinstance(self.num_choices, int) or self.num_choices < 2:
                raise self._error(
                    f"choices_column is {self.choices_column!r} and num_choices {self.num_choices!r}; multiple_choice "
                    "needs the column that holds the choices and how many there are (2 or more)."
                )
        elif self.problem_type != "regression" and (self.label_names is None or len(self.label_names) < 2):
            raise self._error(f"label_names is {self.label_names!r}; {self.problem_type} needs two or more.")
        elif self.label_names is not None and len(set(self.label_names)) < len(self.label_names):
            raise self._error("label_names holds a name twice.")

    def _error(self, text: str) -> ValueError:
        return ValueError(f"Task '{self.name}': {text}")

    @property
    def num_labels(self) -> int:
        """Width of the head's output: classes, or 1 for a score per choice or a number."""
        return len(self.label_names) if self.label_names else 1

    def same_classes(self, other: TaskSpec) -> bool:
        """Do the classes of both bear the same names, in the same order?"""
        return self.label_names is not None and self.label_names == other.label_names

    @property
    def rows_per_example(self) -> int:
        """How many backbone rows one example is flattened into: choices, images of a pair, or 1."""
        if self.problem_type == "multiple_choice" and self.num_choices:
            return self.num_choices
        return max(1, len(self.image_columns))

    @property
    def modality(self) -> str:
        """`"multi-modal"`, `"image"`, `"text"` or `"audio"`."""
        if self.audio_column:
            return "audio"
        has_text = bool(self.text_columns or self.choices_column)
        return "multi-modal" if self.image_columns and has_text else "image" if self.image_columns else "text"

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The columns that the model reads: images, texts, choices, sound."""
        single = tuple(column for column in (self.choices_column, self.audio_column) if column)
        return self.image_columns + self.text_columns + single

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a data set of this task needs: inputs, label, scores."""
        return (*self.input_columns, self.label_column, *((self.score_column,) if self.score_column else ()))

    @property
    def features(self) -> Features:
        """The columns of a data set of this task, inputs first, with their types."""
        from datasets import ClassLabel, Features, Image, List, Value  # a second to import, and needed here alone

        several = {"multi_label_classification": List(Value("int64")), "regression": Value("float64")}
        label = ClassLabel(names=list(self.label_names)) if self.label_names else Value("int64")
        features = {column: Image() for column in self.image_columns}
        features |= {column: Value("string") for column in self.text_columns}
        features |= {self.choices_column: List(Value("string"))} if self.choices_column else {}
        features[self.label_column] = several.get(self.problem_type, label)
        return Features(features | ({self.score_column: List(Value("float64"))} if self.score_column else {}))

    def check_dataset(self, dataset: Dataset, split: str) -> None:
        """Raise a `ValueError` if the split is empty, lacks a column, or holds labels that the head cannot express.

        What is in the other columns is not looked at: `atlas_hf.data.looking.look_at` does that, before a training.
        """
        self.check_columns(dataset, split)
        scores = dataset[self.score_column] if self.score_column else None
        self.check_labels(dataset[self.label_column], scores, f"'{split}'")

    def check_columns(self, dataset: Dataset, split: str) -> None:
        """Raise a `ValueError` if the split is empty or lacks a column."""
        if len(dataset) == 0:
            raise self._error(f"the split '{split}' is empty; give at least one example.")
        missing = [column for column in self.columns if column not in dataset.column_names]
        if missing:
            raise self._error(
                f"the split '{split}' has no column {', '.join(map(repr, missing))}; it has "
                f"{', '.join(map(repr, dataset.column_names))}. Name the columns in the TaskSpec."
            )

    def check_labels(self, labels: Sequence[Any], scores: Sequence[Any] | None, source: str) -> None:
        """Raise a `ValueError` that names the first row of `source` whose label the head cannot express."""
        scores = [None] * len(labels) if scores is None else scores
        for row, (label, given) in enumerate(zip(labels, scores, strict=True)):
            for fault in self.label_faults(label, given):
                raise self._error(f"row {row} of {source} {fault}")

    def label_faults(self, label: Any, scores: Any = None) -> Iterator[str]:
        """What keeps the head from expressing a row's label, each as "has ... in ...; what to do"."""
        several = self.problem_type == "multi_label_classification"
        label, scores = plain(label), plain(scores)
        if several and not isinstance(label, (list, tuple)):
            yield f"has {label!r} in '{self.label_column}'; give a list of class ids."
            return
        for value in label if several else [label]:
            yield from self._value_faults(plain(value))
        if several and self.score_column:
            yield from self._score_faults(scores, len(label))

    def _value_faults(self, value: Any) -> Iterator[str]:
        if self.problem_type == "regression":
            if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
                yield f"has {value!r} in '{self.label_column}'; give finite numbers."
            return
        limit = self.rows_per_example if self.problem_type == "multiple_choice" else self.num_labels
        if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= int(value) < limit:
            possible = f"has {value!r} in '{self.label_column}'; possible are the whole numbers 0 to {limit - 1}"
            if value is None:  # an empty cell, of a column of names too
                yield f"{possible}, the ids of the labels. Fill in the label, or leave the row out."
            else:
                yield f"{possible}. Map the labels to class ids, and leave unlabelled rows out."

    def _score_faults(self, scores: Any, count: int) -> Iterator[str]:
        numbers = isinstance(scores, (list, tuple)) and all(isinstance(score, Real) for score in scores)
        if not numbers or len(scores) != count or not all(0 <= score <= 1 for score in scores):
            yield (
                f"has {scores!r} in '{self.score_column}'; give one number in [0, 1] for each of the {count} ids in "
                f"'{self.label_column}'."
            )

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain data, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskSpec:
        """The reverse of `to_dict`; unknown or missing fields are a `ValueError` that names them."""
        if not isinstance(values, Mapping):
            raise ValueError(f"A task's record is a JSON object, not {type(values).__name__}.")
        known = {field.name for field in fields(cls)}
        unknown, missing = sorted(set(values) - known), sorted({"name", "problem_type"} - set(values))
        if unknown or missing:
            raise ValueError(
                f"A task's record has unknown fields {unknown} and lacks {missing}; known are {sorted(known)}."
            )
        return cls(**values)
