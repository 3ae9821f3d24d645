"""The tasks of CLiMB (Srinivasan et al. 2022) and of the ATLAS paper, and where the Hub has their data.

docs/climb.md says of each data set how it may be used and what its columns were confirmed from.
"""

from collections import Counter
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from datasets import Features
from transformers import AutoConfig

from atlas_hf.metrics.vqa import vqa_score
from atlas_hf.streams.climb.hub_tasks import HubTask, Row, Source, class_names

ANSWERS_ID = "dandelin/vilt-b32-finetuned-vqa"  # its configuration holds the 3,129 answers of VQAv2
SINGLE, CHOICE, SEVERAL = "single_label_classification", "multiple_choice", "multi_label_classification"
SECRET = {"train": "train", "test": "validation"}  # where the test labels are secret, the validation data are the test


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _splits(
    repo: str | None, columns: Mapping[str, str], splits: Mapping[str, str] = SECRET, **options: Any
) -> dict[str, Source]:
    return {ours: Source(repo, theirs, columns, **options) for ours, theirs in splits.items()}


def _choices(number: int, column: str = "choices") -> dict[str, Any]:
    return {"choices_column": column, "num_choices": number, "random_baseline": 1 / number}


def vqa_answers(features: Features) -> tuple[str, ...]:
    """The 3,129 answers that occur often enough in VQAv2, in the order of the published ViLT."""
    labels = AutoConfig.from_pretrained(ANSWERS_ID).id2label
    return tuple(labels[i] for i in range(len(labels)))


@cache
def _answer_ids() -> dict[str, int]:
    return {answer: i for i, answer in enumerate(vqa_answers(Features()))}


def _vqa(row: Row) -> Row:
    """Ten annotators' answers as ids and soft scores in the answer space; answers outside of it are left out."""
    ids, given = _answer_ids(), [answer["answer"] for answer in row["annotations"]]
    scores = {ids[answer]: vqa_score(answer, given) for answer in Counter(given) if answer in ids}
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
        "snli-ve", SINGLE, "Does a photograph entail or contradict a sentence?",
        _IMAGE | {"text_columns": ("hypothesis",), "random_baseline": 1 / 3},
        _splits(
            "sedrickkeh/snli-ve", _same("image", "hypothesis", "label"), _same("train", "validation", "test"),
            large=True,
        ),
        "Annotations BSD-3-Clause, SNLI CC BY-SA 4.0; photographs under the terms of Flickr30k (research).",
        labels=partial(class_names, otherwise=("entailment", "neutral", "contradiction")),
    ),
    HubTask(
        "piqa", CHOICE, "Which of two ways leads to a physical goal?",
        _choices(2) | {"text_columns": ("goal",)},
        _splits("ybisk/piqa", _same("goal", "sol1", "sol2", "label"), revision="refs/convert/parquet"),
        "Academic Free License 3.0, as PIQA's authors publish it.",
        _piqa,
    ),
    HubTask(
        "inaturalist", SINGLE, "Which of 1,010 species does a photograph show?",
        _IMAGE | {"random_baseline": 1 / 1010},
        _splits(None, _same("image", "label"), _same("train"), large=True),
        "iNaturalist 2019 is an archive of the FGVC6 competition (non-commercial), which nobody is known to keep "
        "on the Hub in Parquet.",
        labels=class_names,
    ),
    HubTask(
        "vqa", SEVERAL, "Answer a question about a photograph.",
        _IMAGE | {"text_columns": ("question",), "label_column": "answers", "score_column": "scores"},
        _splits(
            "Multimodal-Fatima/VQAv2_train", _same("image", "question") | {"annotations": "answers_original"},
            _same("train"), large=True,
        ) | _splits(
            "lmms-lab/VQAv2", _same("image", "question") | {"annotations": "answers"}, {"test": "validation"},
            large=True,
        ),
        "Annotations and COCO images CC BY 4.0; the copy of the training data states no licence.",
        _vqa,
        vqa_answers,
    ),
    HubTask(
        "vcr", CHOICE, "Which answer to a question about a film scene is right?",
        _IMAGE | _choices(4, "answer_choices") | {"text_columns": ("question",), "label_column": "answer_label"},
        _splits("pingzhili/vcr-qa", _same("image", "question", "answer_choices", "answer_label"), large=True),
        "VCR's terms: non-commercial research; agree to them at visualcommonsense.com first.",
    ),
    HubTask(
        "commonsense-qa", CHOICE, "Which of five answers does common sense give?",
        _choices(5) | {"text_columns": ("question",)},
        _splits("tau/commonsense_qa", _same("question", "choices", "answerKey")),
        "MIT.",
        _commonsense,
    ),
    HubTask(
        "places365", SINGLE, "Which of 365 kinds of place does a photograph show?",
        _IMAGE | {"random_baseline": 1 / 365},
        _splits("ljnlonoljpiljm/places365-256px", _same("image", "label"), _same("train"), large=True),
        "Places365's terms: non-commercial research and education.",
        labels=class_names,
    ),
    HubTask(
        "nlvr2", "image_pair", "Is a sentence true of two photographs?",
        {
            "image_columns": ("left", "right"), "text_columns": ("sentence",), "label_names": ("false", "true"),
            "random_baseline": 0.5,
        },
        _splits("pingzhili/nlvr2", _same("sentence", "label") | {"left": "image0", "right": "image1"}, large=True),
        "Annotations CC BY 4.0; photographs from the web, of many owners.",
        _nlvr2,
    ),
    HubTask(
        "imdb", SINGLE, "Is a film review positive or negative?",
        {"text_columns": ("text",), "random_baseline": 0.5},
        _splits("stanfordnlp/imdb", _same("text", "label"), _same("train", "test")),
        "Of unstated licence.",
        labels=partial(class_names, otherwise=("neg", "pos")),
    ),
    HubTask(
        "sst2", SINGLE, "Is a phrase of a film review positive or negative?",
        {"text_columns": ("sentence",), "random_baseline": 0.5},
        _splits("stanfordnlp/sst2", _same("sentence", "label")),
        "Of unstated licence.",
        labels=partial(class_names, otherwise=("negative", "positive")),
    ),
    HubTask(
        "hellaswag", CHOICE, "Which of four endings goes on with a text?",
        _choices(4) | {"text_columns": ("context",)},
        _splits("Rowan/hellaswag", {"context": "ctx", "choices": "endings", "label": "label"}),
        "MIT.",
        _hellaswag,
    ),
    HubTask(
        "coco-objects", SEVERAL, "Which of 80 kinds of objects does a photograph show?",
        _IMAGE,
        _splits("detection-datasets/coco", _same("image", "objects"), {"train": "train", "test": "val"}, large=True),
        "Annotations CC BY 4.0; photographs under Flickr's terms.",
        _objects,
        _object_names,
    ),
)  # fmt: skip
TASKS = {task.name: task for task in _TASKS}
