"""The tasks of the digits stream: what each of them is (`TaskSpec`), what makes its examples, and its data sets."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from atlas_hf.streams.digits import examples
from atlas_hf.streams.digits.examples import ANSWERS, Row
from atlas_hf.streams.digits.scenes import DIGITS, SPLITS, Scene, handwriting, png, write_scenes
from atlas_hf.tasks import TaskSpec

DATASET_ID = "scikit-learn digits"
HELD_OUT = (70, 80, 100)  # per cent of the text-only questions, by their hash: where train, validation and test end
SINGLE, CHOICE = "single_label_classification", "multiple_choice"


@dataclass(frozen=True)
class DigitTask:
    """A task of the stream.

    Args:
        build: makes one example; image columns hold a `Scene`.
        key: for text-only tasks: the text which decides, by its hash, which split an example is for.
    """

    spec: TaskSpec
    build: Callable[[np.random.Generator], Row]
    key: Callable[[Row], str] | None = None

    def example(self, rng: np.random.Generator, split: str) -> Row:
        """One example of `split`: for text-only tasks, drawn again until its question belongs to that split."""
        row = self.build(rng)
        while self.key and split_of_question(self.key(row)) != split:
            row = self.build(rng)
        return row

    def make_split(self, split: str, size: int, seed: int) -> Dataset:
        """`size` rows that depend on the task's name, the split and the seed; fewer are the beginning of more.

        Scenes are PNG files in the split's handwriting.
        """
        entropy = [seed, zlib.crc32(self.spec.name.encode()), SPLITS.index(split)]
        rng, hands = (np.random.default_rng([*entropy, stream]) for stream in range(2))
        rows = [self.example(rng, split) for _ in range(size)]
        columns = {column: [row[column] for row in rows] for column in self.spec.features}
        if self.spec.image_columns:
            columns |= _images(self.spec.image_columns, rows, split, hands)
        return Dataset.from_dict(columns, features=self.spec.features)


def split_of_question(question: str) -> str:
    """The split that a text belongs to, by its hash."""
    percent = zlib.crc32(question.encode()) % 100
    return next(split for split, end in zip(SPLITS, HELD_OUT, strict=True) if percent < end)


def _images(columns: Sequence[str], rows: Sequence[Row], split: str, rng: np.random.Generator) -> dict[str, list[Any]]:
    scenes: list[Scene] = [row[column] for row in rows for column in columns]
    digits = np.array([scene.digits for scene in scenes]).reshape(-1, 4)
    colours = np.array([scene.colours for scene in scenes]).reshape(-1, 4)
    pictures = write_scenes(digits, colours, handwriting(split), rng)
    files = [{"bytes": png(pixels), "path": None} for pixels in pictures]
    return {column: files[index :: len(columns)] for index, column in enumerate(columns)}


def _task(
    build: Callable[[np.random.Generator], Row],
    name: str,
    problem_type: str,
    random_baseline: float,
    description: str,
    key: Callable[[Row], str] | None = None,
    **columns: Any,
) -> DigitTask:
    columns |= {"random_baseline": random_baseline, "dataset_id": DATASET_ID, "description": description}
    return DigitTask(TaskSpec(name, problem_type, **columns), build, key)


_TASKS = (
    _task(
        examples.vqa, "vqa", "multi_label_classification", 0.07, "Answer a question about a scene of four digits.",
        image_columns=("image",), text_columns=("question",),
        label_column="answers", score_column="scores", label_names=ANSWERS,
    ),
    _task(
        examples.entailment, "entailment", SINGLE, 1 / 3,
        "Does the scene, of which one cell is hidden, entail or contradict the hypothesis?",
        image_columns=("image",), text_columns=("hypothesis",), label_names=("entailment", "neutral", "contradiction"),
    ),
    _task(
        examples.text_choice, "text-choice", CHOICE, 0.5,
        "Which of two numbers is even, odd, or more than, less than, after or before a third?",
        key=lambda row: " ".join([row["question"], *sorted(row["choices"])]),
        text_columns=("question",), choices_column="choices", num_choices=2,
    ),
    _task(
        examples.image_class, "image-class", SINGLE, 0.1,
        "Read the digit whose colour no other digit in the scene has.",
        image_columns=("image",), label_names=DIGITS,
    ),
    _task(
        examples.visual_choice, "visual-choice", CHOICE, 0.25,
        "Which of four pairs of colour and digit is in the cell asked about?",
        image_columns=("image",), text_columns=("question",), choices_column="choices", num_choices=4,
    ),
    _task(
        examples.text_class, "text-class", SINGLE, 1 / 4,
        "How many of three numbers are even, odd, or more or less than a fourth?",
        key=lambda row: row["text"],
        text_columns=("text",), label_names=DIGITS[:4],
    ),
    _task(
        examples.image_parity, "image-parity", SINGLE, 1 / 3,
        "Are the two digits of the scene both even, both odd, or one of each?",
        image_columns=("image",), label_names=("both even", "both odd", "one of each"),
    ),
    _task(
        examples.image_pairs, "image-pairs", "image_pair", 0.5, "Is a statement about what two scenes show true?",
        image_columns=("left", "right"), text_columns=("statement",), label_names=("false", "true"),
    ),
)  # fmt: skip
TASKS = {task.spec.name: task for task in _TASKS}
