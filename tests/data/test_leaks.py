"""A score on what was learned from is not given without a word."""

import io
import logging

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature

from atlas_hf import learn_sequence
from atlas_hf.data.leaks import warn_of_leaks
from atlas_hf.data.looking import look_at
from atlas_hf.data.own_data import own_task
from shared.tiny import picture, quick, splits, text_data, text_spec

SPEC = text_spec("one")


def texts(*values):
    return Dataset.from_dict({"text": list(values), "label": [i % 2 for i in range(len(values))]})


def numbered(start, count):
    return texts(*(f"text {i}" for i in range(start, start + count)))


def pictures(*sizes):
    files = []
    for size in sizes:
        file = io.BytesIO()
        picture(size=(size, size)).save(file, "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    rows = {"image": files, "label": [i % 2 for i in range(len(files))]}
    return Dataset.from_dict(rows, Features({"image": ImageFeature(), "label": Value("int64")}))


PICTURES = text_spec("seen", text_columns=[], image_columns=["image"])


@pytest.mark.parametrize(
    ("spec", "train", "test", "said"),
    [
        (SPEC, numbered(0, 40), numbered(0, 40), "40 of the 40 rows of 'test' have the same inputs"),
        (SPEC, numbered(0, 40), numbered(30, 40), "10 of the 40 rows of 'test' have the same inputs"),
        (SPEC, numbered(0, 40), numbered(0, 1), "1 of the 1 rows of 'test' have the same inputs"),
        (SPEC, numbered(0, 40), numbered(40, 40), ""),
        (SPEC, numbered(0, 40), numbered(38, 40), ""),  # two of forty: perhaps by chance
        (SPEC, texts(*"abcd" * 10), texts(*"abcd" * 5), ""),  # a small world repeats itself
        (SPEC, texts(*"a" * 10), texts(*"bc"), "all 10 rows of 'train' have the same inputs, so there is nothing"),
        (PICTURES, pictures(*range(16, 26)), pictures(*range(16, 26)), "10 of the 10 rows of 'test'"),
        (PICTURES, pictures(*range(16, 26)), pictures(*range(26, 36)), ""),
    ],
)
def test_rows_of_train_in_other_splits(caplog, spec, train, test, said):
    warn_of_leaks(spec, {"train": train, "test": test})
    assert (said in caplog.text) if said else not caplog.records


def test_it_is_said_once_before_the_training(caplog, bert, tmp_path):
    data = splits("b", 16, 8)
    args = quick(max_steps=1, eval_strategy="no", save_strategy="no", load_best_model_at_end=False)
    with caplog.at_level(logging.WARNING, "atlas_hf.data.leaks"):
        learn_sequence(bert, [(SPEC, data | {"test": data["train"].select(range(16))})], args, tmp_path)
    assert [record.getMessage() for record in caplog.records if record.name == "atlas_hf.data.leaks"] == [
        "Task 'one': 16 of the 16 rows of 'test' have the same inputs as rows of 'train'. A score on them says little "
        "about new examples. Take them out of one of both."
    ]


def test_a_task_of_ones_own_is_looked_at_too(caplog):
    rows = text_data("b", 30)
    own_task(rows, "one", text_columns=["text"])
    assert "same inputs" not in caplog.text
    own_task(DatasetDict(train=numbered(0, 60), test=numbered(0, 20)), "one", text_columns=["text"])
    assert "20 of the 20 rows of 'test'" in caplog.text


def test_labels_in_another_order_are_refused():
    names = ClassLabel(names=["yes", "no"])
    swapped = texts("a", "b").cast_column("label", names)
    with pytest.raises(ValueError, match=r"of 'test' has the labels yes, no in this order, the task no, yes\. Give"):
        look_at(SPEC, {"train": texts("a", "b"), "test": swapped})
    look_at(SPEC, {"train": swapped.align_labels_with_mapping({"no": 0, "yes": 1}, "label")})
    look_at(text_spec("one", label_names=["negative", "positive"]), {"train": swapped})  # other words for both


def test_a_transform_that_drops_a_column_is_named():
    rows = texts("a", "b").with_transform(lambda batch: {"text": batch["text"]})
    with pytest.raises(
        ValueError, match="the transform of 'train' .* leaves out the column 'label'. Let it keep that"
    ):
        look_at(SPEC, {"train": rows})


@pytest.mark.parametrize(
    "rows", [[{"text": "a", "label": 0}], {"text": ["a"]}, text_data("b", 4).to_iterable_dataset()]
)
def test_what_is_no_data_set_is_named(rows):
    with pytest.raises(ValueError, match=r"The split 'train' is a \w+; give a datasets\.Dataset"):
        look_at(SPEC, {"train": rows})
