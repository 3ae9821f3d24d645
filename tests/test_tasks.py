"""The task record and the collator: what is refused, and how rows become one batch."""

import json
from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

from atlas_hf import AtlasCollator, AtlasConfig, AtlasModel, TaskSpec
from atlas_hf.data import Encoder, example_rows
from atlas_hf.data.encoder import NEUTRAL_COLOUR, NEUTRAL_SENTENCE
from shared.tiny import CHOICE, NUMBER, PAIR, SOFT, make_tokenizer, picture, text_spec


@pytest.fixture(scope="module")
def encoder(vilt_folder):
    return AtlasModel.from_pretrained(vilt_folder, config=AtlasConfig(r=2)).preprocessor


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"problem_type": "tagging"}, "problem_type is 'tagging'; possible are single_label_classification, multi_"),
        ({"text_columns": "text"}, "text_columns is 'text'; give a list of strings"),
        ({"image_columns": [1]}, r"image_columns is \[1\]; give a list of strings"),
        ({"text_columns": None}, "text_columns is None; give a list of strings"),
        ({"text_columns": []}, "it has no input; give image_columns, text_columns, choices_column or audio_"),
        ({"audio_column": "sound"}, r"audio_column goes alone; \['text'\] cannot stand beside it"),
        ({"image_columns": ["a", "b"]}, "single_label_classification takes 0 or 1 image column"),
        (PAIR | {"image_columns": ["left"]}, r"image_columns is \['left'\]; image_pair takes 2 image column"),
        (CHOICE | {"num_choices": 1}, "num_choices 1; multiple_choice needs the column that holds the choices"),
        (CHOICE | {"choices_column": None}, "choices_column is None and num_choices 3"),
        ({"label_names": ["one"]}, r"label_names is \('one',\); single_label_classification needs two or more"),
        ({"label_names": ["yes", "yes"]}, "label_names holds a name twice"),
        ({"metric": "f1"}, "metric is 'f1'; possible are accuracy, soft_accuracy, pearson"),
        ({"metric": "pearson"}, "metric is 'pearson'; single_label_classification is measured by 'accuracy'"),
        ({"random_baseline": 50}, r"random_baseline is 50; give a fraction in \[0, 1\)"),
        ({"random_baseline": float("nan")}, "random_baseline is nan; give a fraction"),
    ],
)  # fmt: skip
def test_a_wrong_record_is_refused_with_its_task(change, error):
    with pytest.raises(ValueError, match=f"Task 'one': .*{error}"):
        text_spec("one", **change)


NAMES = ["", "Vqa", "2d", "a b", "a.b", "a/b", "../up", "a--b", "-a", "a" * 65, "default", None, 3]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_must_be_a_folder_a_tag_and_an_adapter(name):
    with pytest.raises(ValueError, match="is not allowed. A task name is lower-case letters and digits.*for example"):
        text_spec(name)


@pytest.mark.parametrize("change", [{}, CHOICE, PAIR, SOFT, NUMBER, {"description": "Größe?"}])
def test_a_record_goes_through_json(change):
    spec = text_spec("one", **change)
    read = TaskSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert read == spec and hash(read) == hash(spec)


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(ValueError, match=r"unknown fields \['colour'\] and lacks \['problem_type'\]; known are"):
        TaskSpec.from_dict({"name": "one", "colour": "red"})
    with pytest.raises(ValueError, match="A task's record is a JSON object, not list"):
        TaskSpec.from_dict([])


def test_shape_and_modality_follow_from_the_columns():
    one, choice, pair = text_spec("one"), text_spec("one", **CHOICE), text_spec("one", **PAIR)
    assert [spec.rows_per_example for spec in (one, choice, pair)] == [1, 3, 2]
    assert [spec.num_labels for spec in (one, choice, pair, text_spec("one", **NUMBER))] == [2, 1, 2, 1]
    assert [one.modality, pair.modality, text_spec("i", image_columns=["x"], text_columns=[]).modality] == [
        "text", "multi-modal", "image",
    ]  # fmt: skip
    assert choice.input_columns == ("text", "choices") and pair.input_columns == ("left", "right", "text")
    assert [text_spec("one", **kind).metric for kind in ({}, SOFT, NUMBER)] == ["accuracy", "soft_accuracy", "pearson"]


def test_choices_are_flattened_into_one_forward_and_their_image_is_encoded_once(encoder, monkeypatch):
    spec = text_spec("one", **CHOICE, image_columns=["image"])
    rows = [{"text": "is it ?", "choices": list("abc"), "image": picture(), "label": 2} for _ in range(2)]
    encoded, encode = [], Encoder.encode_images
    monkeypatch.setattr(Encoder, "encode_images", lambda *args: encoded.append(len(args[1])) or encode(*args))
    batch = AtlasCollator(spec, encoder)(rows)
    assert encoded == [2] and batch["labels"].tolist() == [2, 2]
    assert len(batch["input_ids"]) == len(batch["pixel_values"]) == 6
    words = encoder.tokenizer.batch_decode(batch["input_ids"])
    assert [text.split()[-2] for text in words] == list("abc") * 2
    assert [batch["token_type_ids"][0].tolist().index(1), words[0].split().index("[SEP]") + 1] == [5, 5]


def test_five_choices_are_one_forward_of_the_backbone(vilt_folder):
    model = AtlasModel.from_pretrained(vilt_folder, config=AtlasConfig(r=2))
    model.add_task(text_spec("one", **CHOICE | {"num_choices": 5}))
    seen = []
    model.get_base_model().encoder.register_forward_hook(lambda module, args, output: seen.append(len(output[0])))
    rows = [{"text": "a", "choices": list("abcde"), "label": 4} for _ in range(3)]
    output = model(**model.collator("one")(rows))
    assert seen == [15] and output.logits.shape == (3, 5) and output.loss.dim() == 0


def test_a_pair_has_two_rows_in_order_that_share_the_text(encoder):
    rows = [{"text": "a b", "left": picture("red"), "right": picture("blue"), "label": 1}]
    batch = AtlasCollator(text_spec("one", **PAIR), encoder)(rows)
    assert torch.equal(batch["input_ids"][0], batch["input_ids"][1])
    red, blue = batch["pixel_values"].mean((2, 3))
    assert red.argmax() == 0 and blue.argmax() == 2


def test_soft_and_hard_labels(encoder):
    rows = [
        {"text": "a", "label": [0, 2], "scores": [0.3, 1]},
        {"text": "b", "label": [1], "scores": [0.6]},
        {"text": "c", "label": [], "scores": []},
    ]
    soft = AtlasCollator(text_spec("one", **SOFT), encoder)(rows)["labels"]
    torch.testing.assert_close(soft, torch.tensor([[0.3, 0, 1], [0, 0.6, 0], [0, 0, 0]]))
    hard = AtlasCollator(text_spec("one", **SOFT | {"score_column": None}), encoder)(rows)["labels"]
    assert hard.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    rows = [{"text": "a", "label": 1.5}, {"text": "b", "label": 2}]
    number = AtlasCollator(text_spec("one", **NUMBER), encoder)(rows)["labels"]
    assert number.tolist() == [1.5, 2] and number.dtype == torch.float32
    assert "labels" not in AtlasCollator(text_spec("one"), encoder)([{"text": "a"}])


def test_a_text_task_sees_a_grey_image_and_an_image_task_a_fixed_sentence(encoder):
    text = AtlasCollator(text_spec("one"), encoder)([{"text": "a"}, {"text": "b c"}])
    grey = encoder.encode_images([picture(NEUTRAL_COLOUR)])["pixel_values"]
    assert torch.equal(text["pixel_values"], grey.expand(2, -1, -1, -1))
    spec = text_spec("one", image_columns=["image"], text_columns=[])
    image = AtlasCollator(spec, encoder)([{"image": picture("blue")}, {"image": picture("red")}])
    sentence = encoder.tokenizer(NEUTRAL_SENTENCE)["input_ids"]
    assert image["input_ids"].tolist() == [sentence, sentence]
    assert not torch.equal(image["pixel_values"][0], image["pixel_values"][1])


def test_later_text_columns_are_the_second_segment(encoder):
    spec = text_spec("one", text_columns=["text", "more", "most"])
    rows = [{"text": "a b", "more": "c", "most": "d"}, {"text": "e", "more": "f", "most": ""}]
    batch = AtlasCollator(spec, encoder)(rows)
    assert encoder.tokenizer.batch_decode(batch["input_ids"])[0] == "[CLS] a b [SEP] c [SEP] d [SEP]"
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0, 0]]
    assert batch["attention_mask"].sum(1).tolist() == [8, 6]


def test_long_texts_are_cut_to_what_the_backbone_can_take(vilt_folder):
    model = AtlasModel.from_pretrained(vilt_folder, config=AtlasConfig(r=2))
    model.add_task(text_spec("one"))
    assert model.collator("one").inputs([{"text": "a " * 500}])["input_ids"].shape == (1, 24)


def test_a_processor_of_one_modality_refuses_the_other():
    with pytest.raises(ValueError, match="'one' has images, but the backbone's processor takes text only"):
        AtlasCollator(text_spec("one", image_columns=["image"]), Encoder(make_tokenizer()))
    images = Encoder(ViltImageProcessorPil(size={"shortest_edge": 16}, size_divisor=8))
    with pytest.raises(ValueError, match="'one' has text, but the backbone's processor takes images only"):
        AtlasCollator(text_spec("one"), images)
    only = AtlasCollator(text_spec("one", image_columns=["image"], text_columns=[]), images)
    assert "input_ids" not in only([{"image": picture(), "label": 0}])


def test_what_predict_is_given_becomes_rows():
    pair = text_spec("one", **PAIR, text_columns=["text", "more"])
    left, right = picture("red"), picture("blue")
    rows, single = example_rows(pair, (left, right), ("a", "b"), None)
    assert single and rows == [{"left": left, "right": right, "text": "a", "more": "b"}]
    rows, single = example_rows(text_spec("one", **CHOICE), None, ["a", "b"], [list("abc"), list("def")])
    assert not single and rows[1] == {"text": "b", "choices": ["d", "e", "f"]}
    assert example_rows(text_spec("one"), None, ["a"], None) == ([{"text": "a"}], False)


def test_a_good_dataset_passes():
    text_spec("one").check_dataset(Dataset.from_dict({"text": ["a"], "label": [1]}), "train")
    data = Dataset.from_dict({"text": ["a", "b"], "label": [[0], [1, 2]], "scores": [[1.0], [0.3, 0]]})
    text_spec("one", **SOFT).check_dataset(data, "train")
    text_spec("one", **NUMBER).check_dataset(Dataset.from_dict({"text": ["a"], "label": [-2.5]}), "train")


def test_printed_a_task_says_what_was_given_and_no_more():
    spec = TaskSpec("movies", "single_label_classification", text_columns=["text"], label_names=["no", "yes"])
    assert repr(spec) == (
        "TaskSpec(name='movies', problem_type='single_label_classification', text_columns=('text',), "
        "label_names=('no', 'yes'), metric='accuracy')"
    )
    assert eval(repr(spec)) == spec
    many = replace(spec, label_names=[f"class {i}" for i in range(1000)])
    assert "'class 5', ...)" in repr(many) and len(repr(many)) < 250
