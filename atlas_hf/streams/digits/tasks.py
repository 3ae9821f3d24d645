"""The tasks of the digits stream: what each of them is (`TaskSpec`), and the function that makes its examples."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas_hf.streams.digits import examples
from atlas_hf.streams.digits.examples import ANSWERS, Row
from atlas_hf.streams.digits.scenes import DIGITS, SPLITS
from atlas_hf.tasks import TaskSpec

DATASET_ID = "scikit-learn digits"
HELD_OUT = (70, 80, 100)  # per cent of the text-only questions, by their hash: where train, validation and test end
SINGLE, CHOICE = "single_label_classification", "multiple_choice"

Builder = Callable[[np.random.Generator], Row]


@dataclass(frozen=True)
class DigitTask:
    """A task of the stream.

    Args:
        spec: what the task is.
        build: makes one example; image columns hold a `Scene`.
        key: for text-only tasks: the text which decides, by its hash, which split an example is for.
    """

    spec: TaskSpec
    build: Builder
    key: Callable[[Row], str] | None = None

    def example(self, rng: np.random.Generator, split: str) -> Row:
        """One example of `split`: for text-only tasks, drawn again until its question belongs to that split."""
        row = self.build(rng)
        while self.key and split_of_question(self.key(row)) != split:
            row = self.build(rng)
        return row


def split_of_question(question: str) -> str:
    """The split that a text belongs to, by its hash."""
    percent = zlib.crc32(question.encode()) % 100
    return next(split for split, end in zip(SPLITS, HELD_OUT, strict=True) if percent < end)


def _spec(name: str, problem_type: str, baseline: float, description: str, **columns: Any) -> TaskSpec:
    return TaskSpec(
        name, problem_type, random_baseline=baseline, dataset_id=DATASET_ID, description=description, **columns
    )


_TASKS = (
    DigitTask(
        _spec(
            "vqa",
            "multi_label_classification",
            0.07,
            "Answer a question about a scene of four digits.",
            image_columns=("image",),
            text_columns=("question",),
            label_column="answers",
            score_column="scores",
            label_names=ANSWERS,
        ),
        examples.vqa,
    ),
    DigitTask(
        _spec(
            "entailment",
            SINGLE,
            1 / 3,
            "Does the scene, of which one cell is hidden, entail or contradict the hypothesis?",
            image_columns=("image",),
            text_columns=("hypothesis",),
            label_names=("entailment", "neutral", "contradiction"),
        ),
        examples.entailment,
    ),
    DigitTask(
        _spec(
            "text-choice",
            CHOICE,
            0.5,
            "Which of two numbers is even, odd, or more than, less than, after or before a third?",
            text_columns=("question",),
            choices_column="choices",
            num_choices=2,
        ),
        examples.text_choice,
        key=lambda row: " ".join([row["question"], *sorted(row["choices"])]),
    ),
    DigitTask(
        _spec(
            "image-class",
            SINGLE,
            0.1,
            "Read the digit whose colour no other digit in the scene has.",
            image_columns=("image",),
            label_names=DIGITS,
        ),
        examples.image_class,
    ),
    DigitTask(
        _spec(
            "visual-choice",
            CHOICE,
            0.25,
            "Which of four pairs of colour and digit is in the cell asked about?",
            image_columns=("image",),
            text_columns=("question",),
            choices_column="choices",
            num_choices=4,
        ),
        examples.visual_choice,
    ),
    DigitTask(
        _spec(
            "text-class",
            SINGLE,
            1 / 4,
            "How many of three numbers are even, odd, or more or less than a fourth?",
            text_columns=("text",),
            label_names=DIGITS[:4],
        ),
        examples.text_class,
        key=lambda row: row["text"],
    ),
    DigitTask(
        _spec(
            "image-parity",
            SINGLE,
            1 / 3,
            "Are the two digits of the scene both even, both odd, or one of each?",
            image_columns=("image",),
            label_names=("both even", "both odd", "one of each"),
        ),
        examples.image_parity,
    ),
    DigitTask(
        _spec(
            "image-pairs",
            "image_pair",
            0.5,
            "Is a statement about what two scenes show true?",
            image_columns=("left", "right"),
            text_columns=("statement",),
            label_names=("false", "true"),
        ),
        examples.image_pairs,
    ),
)
TASKS = {task.spec.name: task for task in _TASKS}
