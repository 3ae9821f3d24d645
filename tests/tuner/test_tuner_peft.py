"""ATLAS under plain PEFT and plain transformers: task names, folders, reuse that is checked."""

import json
import shutil

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.tuner import AtlasPeftType
from shared.comparing import file_digests, seeded, tensor_digests
from shared.tiny import learned, text_spec

TEXTS = [["a b c d e f"], ["h"], ["c c a"]]


def plain(bert_folder, folder, *names):
    """The tasks by PEFT's own means; the second argument of each call is what a card would show."""
    first, *others = names
    model = PeftModel.from_pretrained(
        AutoModel.from_pretrained(bert_folder), folder, adapter_name=first, subfolder=first
    )
    for name in others:
        model.load_adapter(folder, name, subfolder=name)
    return model.eval()


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize("weighting", ["adapter", "channel"])
def test_plain_peft_loads_every_task_with_its_head(bert_folder, tmp_path, variant, weighting):
    model = learned(bert_folder, ("one", "two", "three"), variant=variant, weighting=weighting)
    model.save_pretrained(tmp_path)
    peft, inputs = plain(bert_folder, tmp_path, *model.tasks), model.preprocessor.encode_texts(TEXTS)
    for task in model.tasks:
        peft.set_adapter(task, inference_mode=True)
        logits = peft.base_model.atlas_head[task](peft(**inputs).pooler_output)
        assert torch.equal(logits, seeded(model, task, **inputs))
    assert not any(p.requires_grad for p in peft.parameters())
    mine = {name: digest for name, digest in tensor_digests(model).items() if "atlas_" in name}
    assert {name: digest for name, digest in tensor_digests(peft).items() if "atlas_" in name} == mine


def test_a_folder_holds_peft_files_of_one_task_only(bert_folder, tmp_path):
    learned(bert_folder, ("one", "two")).save_pretrained(tmp_path)
    config = PeftConfig.from_pretrained(tmp_path / "two")
    assert isinstance(config, AtlasConfig) and config.peft_type is AtlasPeftType.ATLAS
    assert config.experience == ["one"] and list(config.experience_sha256) == ["one"]
    tensors = load_file(tmp_path / "two" / "adapter_model.safetensors")
    site = "base_model.model.encoder.layer.0.output.dense.atlas_"
    shapes = {name.removeprefix(site): tuple(t.shape) for name, t in tensors.items() if name.startswith(site)}
    assert shapes == {
        "down.weight": (4, 32), "down.bias": (4,), "up.weight": (32, 4), "up.bias": (32,),
        "key": (1, 32), "query": (1, 32), "experience_query": (1, 1, 32),
    }  # fmt: skip
    assert len(tensors) == 4 * 7 + 6
    assert {name for name in tensors if "atlas_head" in name} == {
        f"base_model.atlas_head.{part}.{kind}" for part in ("dense", "norm", "out") for kind in ("weight", "bias")
    }


def test_plain_peft_refuses_a_task_without_what_it_reuses(bert_folder, tmp_path):
    learned(bert_folder, ("one", "two")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"Task 'two' reuses \['one'\], which this model does not hold .* Load or"):
        plain(bert_folder, tmp_path, "two")


@pytest.mark.parametrize("part", ["atlas_down.weight", "atlas_up.bias", "atlas_key"])
def test_plain_peft_refuses_a_task_whose_reused_task_has_other_weights(bert_folder, tmp_path, part):
    learned(bert_folder, ("one", "two")).save_pretrained(tmp_path)
    path = tmp_path / "one" / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors[f"base_model.model.encoder.layer.1.output.dense.{part}"].view(-1)[0] += 1e-4
    save_file(tensors, path)
    model = plain(bert_folder, tmp_path, "one")
    before, shown = tensor_digests(model), str(model.base_model)
    with pytest.raises(ValueError, match="'two' was learned on another version of 'one': sha256 .* Restore the 'one'"):
        model.load_adapter(tmp_path, "two", subfolder="two")
    assert tensor_digests(model) == before and str(model.base_model) == shown and list(model.peft_config) == ["one"]


def test_queries_and_head_of_a_reused_task_are_not_part_of_its_digest(bert_folder):
    model = learned(bert_folder, ("one", "two"))
    before = model.base_model.reusable_sha256("one")
    for name, parameter in model.named_parameters():
        if name.endswith("atlas_query.one") or "atlas_head.one" in name:
            parameter.data.add_(1)
    assert model.base_model.reusable_sha256("one") == before
    model.base_model.sites["encoder.layer.0.output.dense"].atlas_key["one"].data.add_(1)
    assert model.base_model.reusable_sha256("one") != before


PATH_PARTS = ["output", "layer", "encoder", "weight", "base_layer", "model", "base_model", "atlas_head", "atlas_down"]
PATH_PARTS += ["out", "norm", "dense"]
ATTRIBUTES = ["keys", "items", "update", "forward", "train", "parameters", "copy", "get", "setdefault"]


@pytest.mark.parametrize("name", PATH_PARTS + ATTRIBUTES)
def test_names_that_peft_could_not_tell_apart_are_refused(bert_folder, name):
    model = learned(bert_folder, ("one",))
    before, shown, config = tensor_digests(model), str(model.base_model), dict(model.peft_config)
    with pytest.raises(ValueError, match=f"Task name '{name}' is not allowed: .* Choose another, for example"):
        model.add_task(text_spec(name))
    assert tensor_digests(model) == before and str(model.base_model) == shown and model.peft_config == config
    assert model.tasks == ["one"] and model.task == "one"


@pytest.mark.parametrize("name", ["0", "12", "a.b", "layer.0"])
def test_digits_and_dots_are_refused_under_plain_peft_too(bert_folder, name):
    model = learned(bert_folder, ("one",))
    with pytest.raises(ValueError, match="is not allowed: it is a digit, holds a dot, "):
        model.add_adapter(name, AtlasConfig(r=4))
    assert "one" in model.peft_config and name not in model.peft_config


def test_names_that_look_alike_keep_their_own_tensors(bert_folder, tmp_path):
    names = ("vqa", "vqa-2", "vqa_2", "v", "down", "up", "head", "atlas", "a1", "bias-1")
    model = learned(bert_folder, names)
    model.save_pretrained(tmp_path)
    again, inputs = AtlasModel.from_pretrained(tmp_path), model.preprocessor.encode_texts(TEXTS)
    assert again.tasks == list(names) and tensor_digests(again) == tensor_digests(model)
    counts = {name: model.count_parameters(name) for name in names}
    assert [counts[name]["queries"] for name in names] == [4 * 32 * (i + 1) for i in range(len(names))]
    assert all(torch.equal(seeded(again, name, **inputs), seeded(model, name, **inputs)) for name in names)


def test_transformers_own_load_adapter_and_delete_adapter(bert_folder, tmp_path):
    """There, heads have no place: the adapter gives the same pooled vectors, and the head stays behind."""
    model = learned(bert_folder, ("one",))
    model.save_pretrained(tmp_path)
    inputs = model.preprocessor.encode_texts([["a b c"], ["d e f"]])
    backbone = AutoModel.from_pretrained(bert_folder)
    backbone.load_adapter(tmp_path / "one", adapter_name="one")
    assert torch.equal(backbone.eval()(**inputs).pooler_output, model.pooled("one", **inputs))
    assert not any("atlas_head" in name for name in backbone.state_dict())
    backbone.delete_adapter("one")
    assert not any("atlas_down.one" in name for name in backbone.state_dict())
    bare = AutoModel.from_pretrained(bert_folder)
    assert torch.equal(backbone(**inputs).pooler_output, bare(**inputs).pooler_output)


def test_saving_a_loaded_model_again_gives_the_same_bytes(bert_folder, tmp_path):
    learned(bert_folder, ("one", "two")).save_pretrained(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    AtlasModel.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert file_digests(tmp_path / "a") == file_digests(tmp_path / "b")
    saved = json.loads((tmp_path / "a" / "two" / "adapter_config.json").read_text())
    assert saved["target_modules"] == ["output.dense"] and saved["stage"] == "complete"
    assert str(tmp_path) not in json.dumps(saved)


def test_a_tasks_tensors_have_the_names_that_peft_saves_them_under(bert):
    for name in ("one", "two"):
        bert.add_task(text_spec(name))
        bert.set_stage(name, "complete")
    for name in ("one", "two"):
        saved = get_peft_model_state_dict(bert, adapter_name=name, save_embedding_layers=False)
        found = bert.base_model.task_tensors(name)
        assert found.keys() == saved.keys() and all(torch.equal(found[key], saved[key]) for key in saved)


def test_a_second_task_at_the_same_sites_is_what_peft_would_have_made(bert_folder):
    """Later tasks are added without PEFT's walk through all modules; a pattern of another form takes that walk."""
    models = []
    for second in (["output.dense"], r".*output\.dense"):
        torch.manual_seed(0)
        model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
        model.add_task(text_spec("one"))
        torch.manual_seed(1)
        model.add_task(text_spec("two"), experience=(), target_modules=second)
        models.append(model)
    quick, walked = ({name: (p, p.requires_grad) for name, p in model.named_parameters()} for model in models)
    assert quick.keys() == walked.keys()
    for name, (tensor, trains) in quick.items():
        if "atlas_head" not in name:  # made before the walk or after it, from other random numbers
            assert torch.equal(tensor, walked[name][0]), name
        assert trains == walked[name][1], name
