"""The tasks of CLiMB (Srinivasan et al. 2022) and of the ATLAS paper, and where the Hub has their data.

docs/climb.md says of each data set how it may be used and what its columns were confirmed from.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from datasets import Features
from transformers import AutoConfig

from atlas_hf.metrics.vqa import vqa_score
from atlas_hf.streams.climb.hub_tasks import HubTask, Row, Source, class_names

ANSWERS_ID = "dandelin/vilt-b32-finetuned-vqa"  # its configuration holds the 3,129 answers of VQAv2
SINGLE, CHOICE, SEVERAL = "single_label_classification", "multiple_choice", "multi_label_classification"


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _splits(repo: str | None, columns: dict[str, str], **options: Any) -> dict[str, Source]:
    """Training and test data of a data set whose own test labels are secret: its `validation` is the test."""
    return {
        ours: Source(repo, theirs, columns, **options) for ours, theirs in (("train", "train"), ("test", "validation"))
    }


def vqa_answers(features: Features) -> tuple[str, ...]:
    """The 3,129 answers that occur often enough in VQAv2, in the order of the published ViLT."""
    labels = AutoConfig.from_pretrained(ANSWERS_ID).id2label
    return tuple(labels[i] for i in range(len(labels)))


class AnswerScores:
    """Ten annotators' answers to ids and soft scores in the answer space; answers outside of it are left out."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def __call__(self, row: Row) -> Row:
        """The columns `question`, `answers` and `scores` of a row with `annotations`."""
        self.ids = self.ids or {answer: i for i, answer in enumerate(vqa_answers(Features()))}
        given = [answer["answer"] for answer in row["annotations"]]
        known = [answer for answer in Counter(given) if answer in self.ids]
        scores = {self.ids[answer]: vqa_score(answer, given) for answer in known}
        return {"question": row["question"], "answers": list(scores), "scores": list(scores.values())}


def _piqa(row: Row) -> Row:
    return {"goal": row["goal"], "choices": [row["sol1"], row["sol2"]], "label": row["label"]}


def _commonsense(row: Row) -> Row:
    key = row["answerKey"]
    label = row["choices"]["label"].index(key) if key else -1
    return {"question": row["question"], "choices": row["choices"]["text"], "label": label}


def _hellaswag(row: Row) -> Row:
    return {"context": row["context"], "choices": row["choices"], "label": int(row["label"] or -1)}


def _nlvr2(row: Row) -> Row:
    return {"sentence": row["sentence"], "label": ("false", "true").index(str(row["label"]).lower())}


def _objects(row: Row) -> Row:
    return {"label": sorted(set(row["objects"]["category"]))}


def _object_names(features: Features) -> tuple[str, ...]:
    return tuple(features["objects"]["category"].feature.names)


_IMAGE = {"image_columns": ("image",)}
_TASKS = (
    HubTask(
        _IMAGE | {
            "name": "snli-ve", "problem_type": SINGLE, "text_columns": ("hypothesis",), "random_baseline": 1 / 3,
            "description": "Does a photograph entail or contradict a sentence?",
        },
        {
            split: Source("sedrickkeh/snli-ve", split, _same("image", "hypothesis", "label"), large=True)
            for split in ("train", "validation", "test")
        },
        labels=class_names(otherwise=("entailment", "neutral", "contradiction")),
        access="Annotations BSD-3-Clause, SNLI CC BY-SA 4.0; photographs under the terms of Flickr30k (research).",
    ),
    HubTask(
        {
            "name": "piqa", "problem_type": CHOICE, "text_columns": ("goal",), "choices_column": "choices",
            "num_choices": 2, "random_baseline": 0.5, "description": "Which of two ways leads to a physical goal?",
        },
        _splits("ybisk/piqa", _same("goal", "sol1", "sol2", "label"), revision="refs/convert/parquet"),
        _piqa,
        access="Academic Free License 3.0, as PIQA's authors publish it.",
    ),
    HubTask(
        _IMAGE | {
            "name": "inaturalist", "problem_type": SINGLE, "random_baseline": 1 / 1010,
            "description": "Which of 1,010 species does a photograph show?",
        },
        {"train": Source(None, "train", _same("image", "label"), large=True)},
        labels=class_names(),
        access=(
            "iNaturalist 2019 is an archive of the FGVC6 competition (non-commercial), which nobody is known to keep "
            "on the Hub in Parquet."
        ),
    ),
    HubTask(
        _IMAGE | {
            "name": "vqa", "problem_type": SEVERAL, "text_columns": ("question",), "label_column": "answers",
            "score_column": "scores", "description": "Answer a question about a photograph.",
        },
        {
            "train": Source(
                "Multimodal-Fatima/VQAv2_train", "train",
                _same("image", "question") | {"annotations": "answers_original"}, large=True,
            ),
            "test": Source(
                "lmms-lab/VQAv2", "validation", _same("image", "question") | {"annotations": "answers"}, large=True
            ),
        },
        AnswerScores(),
        labels=vqa_answers,
        access="Annotations and COCO images CC BY 4.0; the copy of the training data states no licence.",
    ),
    HubTask(
        _IMAGE | {
            "name": "vcr", "problem_type": CHOICE, "text_columns": ("question",), "choices_column": "answer_choices",
            "num_choices": 4, "label_column": "answer_label", "random_baseline": 0.25,
            "description": "Which answer to a question about a film scene is right?",
        },
        _splits("pingzhili/vcr-qa", _same("image", "question", "answer_choices", "answer_label"), large=True),
        access="VCR's terms: non-commercial research; agree to them at visualcommonsense.com first.",
    ),
    HubTask(
        {
            "name": "commonsense-qa", "problem_type": CHOICE, "text_columns": ("question",),
            "choices_column": "choices", "num_choices": 5, "random_baseline": 0.2,
            "description": "Which of five answers does common sense give?",
        },
        _splits("tau/commonsense_qa", _same("question", "choices", "answerKey")),
        _commonsense,
        access="MIT.",
    ),
    HubTask(
        _IMAGE | {
            "name": "places365", "problem_type": SINGLE, "random_baseline": 1 / 365,
            "description": "Which of 365 kinds of place does a photograph show?",
        },
        {"train": Source("ljnlonoljpiljm/places365-256px", "train", _same("image", "label"), large=True)},
        labels=class_names(),
        access="Places365's terms: non-commercial research and education.",
    ),
    HubTask(
        {
            "name": "nlvr2", "problem_type": "image_pair", "image_columns": ("left", "right"),
            "text_columns": ("sentence",), "label_names": ("false", "true"), "random_baseline": 0.5,
            "description": "Is a sentence true of two photographs?",
        },
        _splits(
            "pingzhili/nlvr2", _same("sentence", "label") | {"left": "image0", "right": "image1"}, large=True
        ),
        _nlvr2,
        access="Annotations CC BY 4.0; photographs from the web, of many owners.",
    ),
    HubTask(
        {
            "name": "imdb", "problem_type": SINGLE, "text_columns": ("text",), "random_baseline": 0.5,
            "description": "Is a film review positive or negative?",
        },
        {split: Source("stanfordnlp/imdb", split, _same("text", "label")) for split in ("train", "test")},
        labels=class_names(otherwise=("neg", "pos")),
        access="Of unstated licence.",
    ),
    HubTask(
        {
            "name": "sst2", "problem_type": SINGLE, "text_columns": ("sentence",), "random_baseline": 0.5,
            "description": "Is a phrase of a film review positive or negative?",
        },
        _splits("stanfordnlp/sst2", _same("sentence", "label")),
        labels=class_names(otherwise=("negative", "positive")),
        access="Of unstated licence.",
    ),
    HubTask(
        {
            "name": "hellaswag", "problem_type": CHOICE, "text_columns": ("context",), "choices_column": "choices",
            "num_choices": 4, "random_baseline": 0.25, "description": "Which of four endings goes on with a text?",
        },
        _splits("Rowan/hellaswag", {"context": "ctx", "choices": "endings", "label": "label"}),
        _hellaswag,
        access="MIT.",
    ),
    HubTask(
        _IMAGE | {
            "name": "coco-objects", "problem_type": SEVERAL,
            "description": "Which of 80 kinds of objects does a photograph show?",
        },
        {
            ours: Source("detection-datasets/coco", theirs, _same("image", "objects"), large=True)
            for ours, theirs in (("train", "train"), ("test", "val"))
        },
        _objects,
        labels=_object_names,
        access="Annotations CC BY 4.0; photographs under Flickr's terms.",
    ),
)  # fmt: skip
TASKS = {task.name: task for task in _TASKS}
