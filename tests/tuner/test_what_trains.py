"""Under plain PEFT: what trains follows from who is active, in which stage, and who reuses it, and nothing else."""

import pytest
import torch
from peft import PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModel

from atlas_hf import AtlasConfig
from shared.tiny import learned

OWN = {"atlas_down", "atlas_up", "atlas_key", "atlas_query"}


def trains(model):
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {tuple(name[name.index("atlas_") :].split(".")[:2]) for name in names}


def of(task, parts=OWN):
    return {(part, task) for part in parts}


def plain(bert_folder, dtype, **config):
    base = AutoModel.from_pretrained(bert_folder, dtype=dtype)
    return get_peft_model(base, AtlasConfig(r=2, **config), adapter_name="a")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_b10_a_cast_thaws_nothing(bert_folder, dtype):
    model = plain(bert_folder, dtype)
    assert trains(model) == of("a")
    model.add_adapter("b", AtlasConfig(r=2, experience=["a"]))
    assert trains(model) == set(), "b is not active, and a is reused"
    model.add_adapter("c", AtlasConfig(r=2, experience=["a", "b"], stage="experience"))
    assert trains(model) == set()
    for name, expected in (("c", of("c", {"atlas_experience_query"})), ("b", set()), ("a", set())):
        model.set_adapter(name)
        assert trains(model) == expected
        model.base_model._cast_adapter_dtype(name)
        assert trains(model) == expected
    assert {p.dtype for name, p in model.named_parameters() if "atlas_" in name} == {torch.float32}


def test_b10_nothing_that_was_thawed_before_stays_so(bert_folder):
    model = plain(bert_folder, torch.bfloat16)
    model.add_adapter("b", AtlasConfig(r=2))
    model.add_adapter("c", AtlasConfig(r=2, experience=["a"]))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("atlas_" in name)
    model.set_adapter("b")
    assert trains(model) == of("b")
    prepare_model_for_kbit_training(model)
    assert trains(model) == set()
    model.set_adapter("a")
    assert trains(model) == set()
    model.set_adapter("b")
    assert trains(model) == of("b")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_b10_what_is_loaded_for_inference_is_frozen(bert_folder, tmp_path, dtype):
    model = plain(bert_folder, dtype)
    model.add_adapter("b", AtlasConfig(r=2, experience=["a"]))
    model.save_pretrained(tmp_path, selected_adapters=["a", "b"])
    base = AutoModel.from_pretrained(bert_folder, dtype=dtype)
    found = PeftModel.from_pretrained(base, tmp_path / "a", adapter_name="a")
    assert trains(found) == set()
    found.load_adapter(tmp_path / "b", "b")
    assert trains(found) == set()
    found.load_adapter(tmp_path / "b", "c", is_trainable=True)
    assert trains(found) == of("c", OWN)


def test_a5_a_finished_task_loaded_as_trainable_is_frozen_with_a_word(bert_folder, tmp_path):
    learned(bert_folder, ("one", "two")).save_pretrained(tmp_path)
    base = AutoModel.from_pretrained(bert_folder)
    text = r"\['{}'\] stay frozen, although asked to train: finished \(stage 'complete'\)"
    with pytest.warns(UserWarning, match=text.format("one")):
        model = PeftModel.from_pretrained(base, tmp_path, adapter_name="one", subfolder="one", is_trainable=True)
    with pytest.warns(UserWarning, match=text.format("two")):
        model.load_adapter(tmp_path, "two", subfolder="two", is_trainable=True)
    assert trains(model) == set()
    config = AtlasConfig.from_pretrained(tmp_path, subfolder="two")
    config.stage = "expansion"  # asked for by name
    config.inference_mode = False
    model.add_adapter("again", config)
    model.set_adapter("again")
    assert trains(model) == of("again", {*OWN, "atlas_head"})
