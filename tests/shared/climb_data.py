"""The data sets of the paper's stream, tiny, with the columns of the real ones, as Parquet on a Hub test server."""

from __future__ import annotations

import io

from datasets import ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Pillow

TEXT, NUMBER = Value("string"), Value("int64")
ANNOTATION = List({"answer": TEXT, "answer_confidence": TEXT, "answer_id": NUMBER})
NLI = ClassLabel(names=["entailment", "neutral", "contradiction"])
ANSWERS = ("red", "blue", "2")
CONVERTED = "refs/convert/parquet"


def photo(shade, size=(24, 16)):
    file = io.BytesIO()
    Pillow.new("RGB", size, (shade % 256, 0, 0)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def annotations(i):
    """Seven for one answer, two for another, one for an answer outside of the answer space."""
    words = [ANSWERS[i % 3]] * 7 + [ANSWERS[(i + 1) % 3]] * 2 + ["a zebra"]
    return [{"answer": word, "answer_confidence": "yes", "answer_id": n} for n, word in enumerate(words, 1)]


def pets(i):
    return {"image": photo(i), "label": i // 4}  # sorted by class, as Places365 is


# By repository and its split: columns, and row i.
QA = {"question": TEXT, "choices": {"label": List(TEXT), "text": List(TEXT)}, "answerKey": TEXT}
PIQA = {"goal": TEXT, "sol1": TEXT, "sol2": TEXT, "label": NUMBER}
VCR = {"image": Image(), "question": TEXT, "answer_choices": List(TEXT), "answer_label": NUMBER, "movie": TEXT}
PLACES = {"image": Image(), "label": ClassLabel(names=["abbey", "balcony/interior", "cafe", "den", "elm", "fen"])}
NLVR2 = {"identifier": TEXT, "sentence": TEXT, "label": TEXT, "image0": Image(), "image1": Image()}
COCO = {
    "image_id": NUMBER, "image": Image(), "width": NUMBER,
    "objects": {"bbox_id": List(NUMBER), "category": List(ClassLabel(names=["person", "dog", "kite"]))},
}  # fmt: skip


def vqa(column, extra):
    features = {"question": TEXT, "image": Image(), column: ANNOTATION, **extra}
    return features, lambda i: {
        "question": f"what is {i} ?", "image": photo(i), column: annotations(i), **dict.fromkeys(extra, "x")
    }  # fmt: skip


def same(features, row, *splits):
    return dict.fromkeys(splits, (features, row))


REPOS = {
    "sedrickkeh/snli-ve": same(
        {"image": Image(), "hypothesis": TEXT, "label": NLI},
        lambda i: {"image": photo(i), "hypothesis": f"a {i}", "label": -1 if i == 7 else i % 3},
        "train", "validation", "test",
    ),
    "ybisk/piqa": same(
        PIQA, lambda i: {"goal": f"open {i}", "sol1": f"a {i}", "sol2": f"b {i}", "label": i % 2},
        "train", "validation",
    ),
    "Multimodal-Fatima/VQAv2_train": {"train": vqa("answers_original", {"question_type": TEXT})},
    "lmms-lab/VQAv2": {"validation": vqa("answers", {"multiple_choice_answer": TEXT})},
    "pingzhili/vcr-qa": same(
        VCR, lambda i: {"image": photo(i), "question": f"why {i} ?", "answer_choices": list("abcd"),
                        "answer_label": i % 4, "movie": "m"}, "train", "validation",
    ),
    "tau/commonsense_qa": same(
        QA, lambda i: {"question": f"where {i} ?", "choices": {"label": list("ABCDE"), "text": list("vwxyz")},
                       "answerKey": "" if i == 3 else "ABCDE"[i % 5]}, "train", "validation",
    ),
    "ljnlonoljpiljm/places365-256px": same(PLACES, pets, "train"),
    "pingzhili/nlvr2": same(
        NLVR2, lambda i: {"identifier": str(i), "sentence": f"two {i}", "label": str(i % 2 == 1), "image0": photo(i),
                          "image1": photo(i + 100)}, "train", "validation",
    ),
    "stanfordnlp/imdb": same(
        {"text": TEXT, "label": ClassLabel(names=["neg", "pos"])}, lambda i: {"text": f"film {i}", "label": i % 2},
        "train", "test",
    ),
    "stanfordnlp/sst2": same(
        {"idx": NUMBER, "sentence": TEXT, "label": ClassLabel(names=["negative", "positive"])},
        lambda i: {"idx": i, "sentence": f"film {i}", "label": i % 2}, "train", "validation",
    ),
    "Rowan/hellaswag": same(
        {"ind": NUMBER, "ctx": TEXT, "endings": List(TEXT), "label": TEXT},
        lambda i: {"ind": i, "ctx": f"he {i}", "endings": list("abcd"), "label": str(i % 4)}, "train", "validation",
    ),
    "detection-datasets/coco": same(
        COCO, lambda i: {"image_id": i, "image": photo(i), "width": 24,
                         "objects": {"bbox_id": [1, 2, 3], "category": [2, i % 2, 2]}}, "train", "val",
    ),
}  # fmt: skip


def parquet(features, row, numbers):
    file = io.BytesIO()
    Dataset.from_list([row(i) for i in numbers], features=Features(features)).to_parquet(file)
    return file.getvalue()


def files(splits, rows=24, parts=4):
    """Each split in `parts` files, numbered as the Hub's are."""
    return {
        f"data/{split}-{part:05d}-of-{parts:05d}.parquet": parquet(
            features, row, range(part * rows // parts, (part + 1) * rows // parts)
        )
        for split, (features, row) in splits.items()
        for part in range(parts)
    }


def publish(hub, *repos):
    """Put the data sets on the server; PIQA on the branch that the Hub itself writes."""
    for repo in repos or REPOS:
        stored = hub.store.create("dataset", repo)
        hub.foreign_commit(repo, files(REPOS[repo]), kind="dataset")
        hub.store.point(stored.branches, CONVERTED, stored.branches["main"])
