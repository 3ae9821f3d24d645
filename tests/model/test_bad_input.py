"""Bad input: each error says what was given, what is possible and what to do, and nothing has changed after it."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

from atlas_hf import AtlasModel
from atlas_hf.data import AtlasCollator, Encoder
from shared.comparing import Unchanged
from shared.tiny import CHOICE, NUMBER, SOFT, picture, text_spec, three_tasks


@pytest.fixture(scope="module")
def shared_vilt(vilt_folder):
    return three_tasks(vilt_folder)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda m: m.set_task("four"), r"no task 'four'; there are \['one', 'two', 'three'\]"),
        (lambda m: m.set_stage("four", "expansion"), "no task 'four'; there are"),
        (
            lambda m: m.set_stage("one", "training"),
            "stage is 'training'; possible are experience, expansion, complete",
        ),
        (lambda m: m.set_stage("one", "experience"), "'one' reuses nothing.*possible are expansion, complete"),
        (lambda m: m.delete_task("four"), "no task 'four'; there are"),
        (lambda m: m.predict("four", texts="a"), "no task 'four'; there are"),
        (lambda m: m.coefficients("four"), "no task 'four'; there are"),
        (lambda m: m(task="four"), "no task 'four'; there are"),
        (lambda m: m.add_task(text_spec("four"), experience=["five"]), "no task 'five'; there are"),
        (lambda m: m.add_task(text_spec("one")), r"a task 'one' already; there are \['one', .*Choose another name"),
        (lambda m: m.add_task(text_spec("output")), "'output' is not allowed: .*Choose another, for example"),
        (
            lambda m: m.add_task(text_spec("four"), target_modules=["LayerNorm"], experience=()),
            "must be a linear module",
        ),
        (lambda m: m.add_task(text_spec("four"), experience=["one", "one"]), r"\['one', 'one'\]; give .* each once"),
    ],
)
def test_unknown_taken_and_unfit_tasks(shared_vilt, call, error):
    with Unchanged(shared_vilt), pytest.raises(ValueError, match=error):
        call(shared_vilt)


def test_no_active_task(bert_folder):
    model = AtlasModel.from_pretrained(bert_folder)
    with pytest.raises(ValueError, match=r"No task is active. Call set_task, or pass task=...; there are \[\]"):
        model(input_ids=torch.ones(1, 3, dtype=torch.long))


@pytest.mark.parametrize(
    ("kind", "label", "error"),
    [
        ({}, 2, "has 2 in 'label'; possible are the whole numbers 0 to 1. Map the labels"),
        ({}, -1, "has -1 in 'label'; possible are .* leave unlabelled rows out"),
        ({}, None, "has None in 'label'; possible are .* Fill in the label, or leave the row out"),
        ({}, float("nan"), "has .* in 'label'; possible are the whole numbers 0 to 1"),
        ({}, 0.5, "has .* in 'label'; possible are the whole numbers 0 to 1"),
        ({}, "yes", "has '.*' in 'label'; possible are the whole numbers 0 to 1"),
        ({}, True, "has True in 'label'; possible are the whole numbers 0 to 1"),
        (CHOICE, 3, "has 3 in 'label'; possible are the whole numbers 0 to 2"),
        (NUMBER, float("inf"), "has inf in 'label'; give finite numbers"),
        (NUMBER, None, "has None in 'label'; give finite numbers"),
        (NUMBER, "much", "has '.*' in 'label'; give finite numbers"),
        (SOFT, [0, 3], "has 3 in 'label'; possible are the whole numbers 0 to 2"),
        (SOFT, None, "has None in 'label'; give a list of class ids"),
        (
            SOFT,
            [0, 1, 2],
            r"has \[1.0, 0.5\] in 'scores'; give one number in \[0, 1\] for each of the 3 ids in 'label'",
        ),
    ],
)
def test_labels_out_of_range_in_a_dataset_and_in_a_batch(shared_vilt, kind, label, error):
    spec = text_spec("four", **kind)
    data = Dataset.from_dict({"text": ["a"], "choices": [list("abc")], "label": [label], "scores": [[1.0, 0.5]]})
    with pytest.raises(ValueError, match=f"Task 'four': row 0 of 'train' {error}"):
        spec.check_dataset(data, "train")
    with pytest.raises(ValueError, match=f"Task 'four': row 0 of the batch {error}"):
        AtlasCollator(spec, shared_vilt.preprocessor)(list(data))


def test_the_first_wrong_row_is_named():
    data = Dataset.from_dict({"text": ["a"] * 4, "label": [0, 1, 5, 7]})
    with pytest.raises(ValueError, match="row 2 of 'validation' has 5 in 'label'"):
        text_spec("four").check_dataset(data, "validation")


@pytest.mark.parametrize("scores", [[0.5, 1.5], [0.5, -0.1], [float("nan"), 1.0], [None, 1.0]])
def test_scores_out_of_range(scores):
    data = Dataset.from_dict({"text": ["a"], "label": [[0, 1]], "scores": [scores]})
    with pytest.raises(ValueError, match=r"row 0 of 'test' has .* in 'scores'; give one number in \[0, 1\]"):
        text_spec("four", **SOFT).check_dataset(data, "test")


def test_wrong_columns_and_empty_splits():
    data = Dataset.from_dict({"text": ["a"], "answer": [1]})
    with pytest.raises(ValueError, match="'test' has no column 'label'; it has 'text', 'answer'. Name the columns"):
        text_spec("one").check_dataset(data, "test")
    with pytest.raises(ValueError, match="has no column 'question', 'scores'; it has"):
        text_spec("one", **SOFT, text_columns=["question"], label_column="answer").check_dataset(data, "test")
    with pytest.raises(ValueError, match="the split 'train' is empty; give at least one example"):
        text_spec("one").check_dataset(data.select([]), "train")


@pytest.mark.parametrize(
    ("task", "row", "error"),
    [
        ("one", {"label": 0}, r"row 0 of the batch has no \['text'\]; it has \['label'\]. Give every input column"),
        ("one", {"text": None}, "row 0 of the batch has a text that is not a string: None. Give strings"),
        ("two", {"text": "a", "choices": ["a", 2, "c"]}, "a text that is not a string: 2"),
        ("two", {"text": "a", "choices": ["a", "b"]}, "has 2 choices; the task has 3 in every row. Fill up or drop"),
        ("two", {"text": "a", "choices": "abc"}, "has 'abc' as choices; the task has 3 in every row"),
        ("two", {"text": "a", "choices": None}, "has None as choices; the task has 3 in every row"),
        (
            "three",
            {"text": "a", "left": picture(), "right": None},
            "has NoneType in the image column 'right'; give a PIL",
        ),
        (
            "three",
            {"text": "a", "left": np.zeros((4, 4, 3)), "right": picture()},
            "has ndarray in the image column 'left'",
        ),
    ],
)
def test_rows_that_are_not_what_the_task_takes(shared_vilt, task, row, error):
    with Unchanged(shared_vilt), pytest.raises(ValueError, match=f"Task '{task}': .*{error}"):
        shared_vilt.collator(task)([row])


@pytest.mark.parametrize(
    ("task", "given", "error"),
    [
        ("one", {"images": picture(), "texts": "a"}, "takes texts; given were images and texts"),
        ("one", {}, "takes texts; given were none"),
        ("one", {"texts": [None]}, "a text that is not a string: None"),
        ("one", {"texts": ("a", "b")}, r"takes 1 item\(s\) per example: text; given were 2"),
        ("two", {"texts": "a", "choices": []}, "has 0 choices; the task has 3"),
        (
            "two",
            {"texts": ["a", "b"], "choices": [list("abc")]},
            r"examples differ: \{'text': 2, 'choices': 1\}. Give as many",
        ),
        ("two", {"texts": ["a", "b"], "choices": [list("abc"), list("ab")]}, "row 1 of the batch has 2 choices"),
        ("three", {"texts": "a", "images": picture()}, r"takes 2 item\(s\) per example, as a tuple: left, right"),
        ("three", {"texts": ["a"], "images": [(picture(), None)]}, "has NoneType in the image column 'right'"),
        (
            "three",
            {"texts": ["a", "b"], "images": [(picture(), picture())]},
            "the numbers of examples differ: .*'text': 2",
        ),
    ],
)
def test_predict_says_what_a_task_takes(shared_vilt, task, given, error):
    with Unchanged(shared_vilt), pytest.raises(ValueError, match=f"Task '{task}'.*{error}"):
        shared_vilt.predict(task, **given)


def test_images_that_do_not_stack():
    encoder = Encoder(ViltImageProcessorPil(do_resize=False, do_pad=False))
    with pytest.raises(
        ValueError, match=r"(?s)of sizes \[\(16, 16\), \(24, 16\)\], do not fit into one tensor: .* resizes or pads"
    ):
        encoder.encode_images([picture(), picture(size=(24, 16))])


def test_inputs_of_different_numbers_of_rows(shared_vilt):
    inputs = shared_vilt.collator("one").inputs([{"text": "a"}, {"text": "b"}])
    with Unchanged(shared_vilt):
        with pytest.raises(ValueError, match="different numbers of rows: .*'input_ids': 2.*'pixel_values': 1"):
            shared_vilt(task="one", **inputs | {"pixel_values": inputs["pixel_values"][:1]})
        with pytest.raises(ValueError, match="'two' has 3 rows per example; 2 rows were given. Give all the choices"):
            shared_vilt(task="two", **inputs)
        with pytest.raises(ValueError, match="'one': there are 3 labels for 2 examples"):
            shared_vilt(task="one", labels=torch.zeros(3, dtype=torch.long), **inputs)
