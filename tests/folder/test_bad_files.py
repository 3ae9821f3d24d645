"""Folders that are missing something, were cut, altered or made up: an error, and nothing has changed after it."""

import json
import pickle
import shutil

import pytest
import torch
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasFormatError, AtlasModel
from atlas_hf.folder import INDEX
from shared.comparing import Unchanged
from shared.spoiled import WEIGHTS, alter_json, alter_tensors, refused, reseal
from shared.tiny import text_spec, three_tasks

SITE = "base_model.model.encoder.layer.0.output.dense.atlas_"
HEAD = "base_model.atlas_head.out.weight"


def test_a_good_folder_is_not_refused(learner, saved):
    learner.load_tasks(saved)
    assert learner.tasks == ["mine", "one", "two", "three"]


def test_unknown_tasks_and_folders(learner, saved, tmp_path):
    refused(
        learner, saved, r"no task 'four', 'zero'; there are \['one', 'two', 'three'\]", tasks=["zero", "one", "four"]
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(AtlasFormatError, match="no atlas.json in .*empty. Is this a folder of atlas_hf"):
        learner.load_tasks(tmp_path / "empty")
    with pytest.raises(ValueError, match="no folder '/nowhere/at all', and it is no.? ?a? repository id"):
        AtlasModel.from_pretrained("/nowhere/at all")


@pytest.mark.parametrize("task", ["one", "three"])
def test_a_file_that_is_missing_cut_or_altered(learner, saved, task):
    path = saved / task / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(learner, saved, f"{task}/{WEIGHTS} is truncated or not a safetensors file .* Restore", AtlasFormatError)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(learner, saved, f"{task}/{WEIGHTS} was altered: its sha256 is .* Restore the file", AtlasFormatError)
    path.write_bytes(b"")
    refused(learner, saved, "is truncated or not a safetensors file", AtlasFormatError)
    path.unlink()
    refused(learner, saved, f"Task '{task}' lacks {WEIGHTS}. Restore it", AtlasFormatError)


@pytest.mark.parametrize("name", ["adapter_model.bin", "pytorch_model.bin", "weights.pt", "model.ckpt", "x.pkl"])
def test_pickled_weights_are_refused_by_name_and_never_opened(learner, saved, name):
    (saved / "two" / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    refused(
        learner, saved, f"Task 'two' has {name}: pickled weights can run code and are never read", AtlasFormatError
    )
    (saved / "two" / WEIGHTS).unlink()
    refused(learner, saved, f"Task 'two' has {name}: pickled", AtlasFormatError)


def test_a_pickle_under_the_name_of_safetensors(learner, saved):
    (saved / "two" / WEIGHTS).write_bytes(pickle.dumps({"a": 1}))
    reseal(saved, "two")
    refused(learner, saved, "is truncated or not a safetensors file", AtlasFormatError)


def fill(key, value):
    return lambda tensors: tensors[key].view(-1)[:1].fill_(value)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (fill(SITE + "query", float("nan")), "atlas_query holds NaN or infinite values. Restore"),
        (fill(HEAD, float("inf")), "out.weight holds NaN or infinite values"),
        (lambda t: t.update({HEAD: t[HEAD][:1]}), r"out.weight is \(1, 64\) in torch.float32; it must be \(2, 64\)"),
        (
            lambda t: t.update({SITE + "key": t[SITE + "key"].repeat(2, 1)}),
            r"atlas_key is \(2, 32\) .* must be \(1, 32\)",
        ),
        (lambda t: t.update({HEAD: t[HEAD].half()}), "is .* in torch.float16; it must be .* in torch.float32"),
        (lambda t: t.update({SITE + "key": t[SITE + "key"].double()}), "in torch.float64; it must be"),
        (lambda t: t.pop(SITE + "up.bias"), "lacks .*atlas_up.bias.* and has unknown"),
        (
            lambda t: t.update({"base_model.model.pooler.dense.bias": torch.ones(32)}),
            "has unknown .*pooler.dense.bias",
        ),
        (lambda t: t.update({SITE + "key.one": torch.ones(1, 32)}), "has unknown .*atlas_key.one"),
        (lambda t: t.update({"more": torch.ones(1)}), r"has unknown \['more'\]"),
    ],
)
def test_tensors_that_are_not_what_the_task_has(learner, saved, change, error):
    alter_tensors(saved, "three", change)
    refused(learner, saved, f"three/{WEIGHTS}.*{error}", AtlasFormatError)


def test_a_reused_task_that_is_missing(learner, saved):
    alter_json(saved / INDEX, lambda index: index["tasks"].pop("one"))
    refused(learner, saved, r"task 'two' reuses \['one'\], but only \[\] were learned before it", AtlasFormatError)


def test_a_reused_task_whose_folder_is_gone(learner, saved):
    shutil.rmtree(saved / "one")
    refused(learner, saved, "Task 'one' lacks adapter_config.json. Restore it", AtlasFormatError, tasks=["two"])


def test_a_reused_task_with_other_weights(learner, saved):
    alter_tensors(saved, "one", fill(SITE + "up.bias", 0.5))
    refused(learner, saved, "The adapter of task 'one' is not the one that atlas.json names", AtlasFormatError)
    digest = digest_of_one(saved)
    alter_json(saved / INDEX, lambda index: index["tasks"]["one"].update(adapter_sha256=digest))
    refused(learner, saved, "'two' was learned on another version of 'one': sha256 .* Restore the 'one'")


def digest_of_one(folder):
    """What `atlas.json` would say of task `one` as it is in the folder now."""
    model = AtlasModel.from_pretrained(json.loads((folder / INDEX).read_text())["base_model"]["id"])
    model.load_adapter(folder / "one", "one")
    return model.base_model.reusable_sha256("one")


@pytest.mark.parametrize(
    ("file", "change", "error"),
    [
        ("task.json", lambda v: v.update(name="other"), "files of task 'two' disagree with atlas.json in name"),
        ("task.json", lambda v: v.update(num_choices=4), "a head that task.json does not"),
        ("task.json", lambda v: v.update(colour="red"), "record of task 'two' .*unknown fields .*colour"),
        ("adapter_config.json", lambda v: v.update(stage="expansion"), "disagree with atlas.json in name, experience"),
        ("adapter_config.json", lambda v: v.update(experience=[]), "disagree with atlas.json in name, experience"),
        ("adapter_config.json", lambda v: v.update(colour="red"), "record of task 'two' .*unexpected .*colour"),
        ("adapter_config.json", lambda v: v.update(r=10**9), "record of task 'two' .*r is 1000000000; give a whole"),
        ("adapter_config.json", lambda v: v["head"].update(num_labels=10**9), "a head that task.json does not"),
        ("adapter_config.json", lambda v: v.update(num_heads=5), "num_heads is 5, which does not divide"),
        ("adapter_config.json", lambda v: v.update(target_modules=["LayerNorm"]), "must be a linear module"),
        ("adapter_config.json", lambda v: v.update(experience=5), "record of task 'two'"),
    ],
)  # fmt: skip
def test_records_that_disagree(learner, saved, file, change, error):
    alter_json(saved / "two" / file, change)
    reseal(saved, "two")
    refused(learner, saved, error)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda v: v.update(format_version=99), "format_version 99; this version of atlas_hf reads 1. Update"),
        (lambda v: v.pop("tasks"), "atlas.json is not what atlas_hf writes: 'tasks'"),
        (lambda v: v["tasks"].update({"../up": v["tasks"]["one"]}), "Task name '../up' is not allowed"),
        (lambda v: v["tasks"]["one"].update(colour=1), "is not what atlas_hf writes: .*colour"),
        (lambda v: v["tasks"]["one"]["files"].pop("task.json"), "files of task 'one' are not adapter_config.json, "),
        (lambda v: v["tasks"]["one"].update(experience=["three"]), r"'one' reuses \['three'\], but only \[\] were"),
        (lambda v: v["base_model"].update(dtype="system"), "dtype 'system' is unknown; possible are float32"),
    ],
)  # fmt: skip
def test_an_index_that_is_not_ours(learner, saved, change, error):
    alter_json(saved / INDEX, change)
    refused(learner, saved, error, AtlasFormatError)


def test_an_index_that_is_not_json(learner, saved):
    (saved / INDEX).write_text("{")
    refused(learner, saved, "atlas.json is not JSON: .* Restore the file", AtlasFormatError)
    (saved / INDEX).write_text("[]")
    refused(learner, saved, "holds a list, not an object", AtlasFormatError)


def test_another_backbone(saved, bert_folder):
    other = AutoModel.from_pretrained(bert_folder)
    other.pooler.dense.bias.data[0] += 1
    with pytest.raises(
        ValueError, match="backbone differs from the one that the tasks were trained on .* Pass backbone="
    ):
        AtlasModel.from_pretrained(saved, backbone=other)
    model = AtlasModel(other, config=AtlasConfig(r=4))
    model.add_task(text_spec("mine"))
    with Unchanged(model, saved), pytest.raises(ValueError, match="backbone differs"):
        model.load_tasks(saved)
    half = AutoModel.from_pretrained(bert_folder, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="in float32.* Pass backbone=... with the same weights, loaded in that dtype"):
        AtlasModel.from_pretrained(saved, backbone=half)


def test_saving_what_could_not_be_loaded_writes_nothing(bert_folder, saved):
    model = three_tasks(bert_folder)
    with Unchanged(model, saved), pytest.raises(ValueError, match="no task 'four'; there are"):
        model.save_pretrained(saved, tasks=["one", "four"])
    with pytest.raises(ValueError, match=r"does not hold the tasks \['one', 'two'\] yet; save all tasks"):
        model.save_pretrained(saved.parent / "new", tasks=["three"])
    assert not (saved.parent / "new").exists()
    with pytest.raises(ValueError, match="task.json is a file; give a folder"):
        model.save_pretrained(saved / "one" / "task.json")
    model.base_model.atlas_head["two"].out.bias.data[0] = float("nan")
    with Unchanged(model, saved), pytest.raises(ValueError, match="'two': .*out.bias holds NaN or infinite values"):
        model.save_pretrained(saved)
    model.base_model.atlas_head["two"].bfloat16()
    with Unchanged(model, saved), pytest.raises(ValueError, match="is torch.bfloat16; adapters .* kept in float32"):
        model.save_pretrained(saved)
