"""How wide a head is: by the task, by what the user says, and as it was in folders of before."""

import json

import pytest
import torch

from atlas_hf import AtlasConfig, AtlasFormatError, AtlasModel
from atlas_hf.benchmark.methods.plain_model import PlainModel
from atlas_hf.tuner import build_head, head_arguments, is_head_of
from shared.comparing import seeded
from shared.tiny import randomize, text_spec

INPUTS = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}


def spec_of(labels):
    return text_spec("one", label_names=[f"label {i}" for i in range(labels)])


@pytest.mark.parametrize(
    ("size", "labels", "hidden"),
    [(32, 2, 64), (128, 2, 256), (384, 2, 256), (768, 12, 256), (768, 300, 300), (768, 3129, 1536)],
)
def test_the_width_suits_the_task(size, labels, hidden):
    arguments = head_arguments(spec_of(labels), size)
    assert arguments.get("hidden", 2 * size) == hidden == build_head(**arguments).dense.out_features
    assert ("hidden" in arguments) == (hidden != 2 * size), "as folders of before have it"
    assert is_head_of(arguments, spec_of(labels), size) and not is_head_of(arguments, spec_of(labels + 1), size)


def test_the_reference_is_as_released():
    assert AtlasConfig(variant="reference").hidden_units(384) == 768
    assert AtlasConfig(variant="reference", head_width=8).hidden_units(384) == 8
    assert AtlasConfig().hidden_units(384) is None


@pytest.fixture
def folder(bert_folder, tmp_path):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4, head_width=8))
    for name, width in (("narrow", {}), ("wide", {"head_width": 100}), ("usual", {"head_width": None})):
        model.add_task(text_spec(name), **width)
        randomize(model, name)
        model.set_stage(name, "complete")
    assert [head.dense.out_features for head in model.heads.values()] == [8, 100, 64]
    model.save_pretrained(tmp_path / "run")
    again = AtlasModel.from_pretrained(tmp_path / "run")
    for name in model.tasks:
        assert torch.equal(seeded(again, name, **INPUTS), seeded(model, name, **INPUTS))
    assert again.task_config.head_width is None, "that of the last task"
    return tmp_path / "run"


def test_a_head_of_any_width_is_loaded_again(folder, bert_folder):
    plain = AtlasModel.from_pretrained(bert_folder)
    plain.load_adapter(folder, "narrow", subfolder="narrow")
    assert plain.specs["narrow"].name == "narrow" and plain.heads["narrow"].dense.out_features == 8


@pytest.mark.parametrize("hidden", [0, -1, True, "8", 10**7, 9])
def test_a_width_that_does_not_fit_the_weights_is_refused(folder, hidden):
    path = folder / "narrow/adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"head": config["head"] | {"hidden": hidden}}))
    with pytest.raises((AtlasFormatError, ValueError)):
        AtlasModel.from_pretrained(folder)


@pytest.mark.parametrize("hidden", [0, -1, True, "8", 10**7])
def test_a_width_that_no_head_has(hidden):
    with pytest.raises(ValueError, match="A head's hidden is .*; give a whole number from 1 to 1,000,000"):
        build_head("single_label_classification", 8, 2, hidden=hidden)


@pytest.mark.parametrize("width", [0, -1, 1.5, True, "8", 10**6])
def test_a_width_that_is_none(width):
    with pytest.raises(ValueError, match="head_width is .*; give a whole number from 1 to 65536"):
        AtlasConfig(head_width=width)


def test_the_baselines_have_the_same_heads(bert_folder):
    plain, atlas = PlainModel(str(bert_folder)), AtlasModel.from_pretrained(bert_folder)
    many = spec_of(90)  # more than 2 D
    plain.add_task(many)
    atlas.add_task(many)
    assert str(plain.heads["one"]) == str(atlas.heads["one"])
