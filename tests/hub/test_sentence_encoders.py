"""A sentence encoder is read as it was trained to be: from a folder, a repository, the cache; in words if unknown."""

import json
import logging
import shutil

import pytest
import torch
from huggingface_hub import constants

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.folder import AtlasFormatError
from atlas_hf.hub import trained_pooling
from atlas_hf.hub.sentence_encoders import FILE
from shared.tiny import text_spec

REPO = "user/encoder"


def flags(*on):
    return {f"pooling_mode_{name}": name in on for name in ("cls_token", "mean_tokens", "max_tokens")}


def write(folder, values):
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return folder


@pytest.fixture
def encoder(bert_folder, tmp_path):
    return write(shutil.copytree(bert_folder, tmp_path / "encoder"), flags("mean_tokens"))


@pytest.mark.parametrize(
    ("values", "pooling"),
    [
        ({"word_embedding_dimension": 384} | flags("mean_tokens"), "mean"),
        (flags("cls_token"), "cls"),
        (flags("max_tokens"), None),  # heads cannot read that
        (flags("cls_token", "mean_tokens"), None),  # both, joined
        ({}, None),
        ({"pooling_mode_mean_tokens": "yes"}, None),
    ],
)
def test_the_pooling_of_a_folder(tmp_path, values, pooling):
    assert trained_pooling(str(write(tmp_path, values))) == pooling


@pytest.mark.parametrize("source", ["nowhere/at/all", "atlas-hf/digits-vilt", "."])
def test_no_sentence_encoder(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    assert trained_pooling(source) is None


@pytest.mark.parametrize(("text", "message"), [("[1]", "holds a list"), ("{", "is not JSON")])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path, text, message):
    with pytest.raises(AtlasFormatError, match=message):
        trained_pooling(str(write(tmp_path, text)))


def test_a_model_reads_the_mean_and_says_so_in_its_folder(encoder, tmp_path):
    model = AtlasModel.from_pretrained(encoder, config=AtlasConfig(r=4))
    model.add_task(text_spec("one"))
    model.set_stage("one", "complete")
    model.save_pretrained(tmp_path / "run")
    assert json.loads((tmp_path / "run/one/adapter_config.json").read_text())["pooling"] == "mean"
    shutil.rmtree(encoder / "1_Pooling")  # what a task was learned with stays
    loaded = AtlasModel.from_pretrained(tmp_path / "run")
    assert loaded.predict("one", texts="a b") == model.predict("one", texts="a b")
    assert loaded.task_config.pooling == "mean"


def test_what_the_user_says_goes_before_it(encoder):
    assert AtlasModel.from_pretrained(encoder, config=AtlasConfig(pooling="pooler")).task_config.pooling == "pooler"
    given = AtlasConfig(r=4)
    assert AtlasModel.from_pretrained(encoder, config=given).task_config.pooling == "mean"
    assert given.pooling is None  # it is the user's own


def test_a_model_that_is_passed_is_read_as_its_folder_says(encoder):
    backbone = AtlasModel.from_pretrained(encoder).get_base_model()
    assert AtlasModel.from_pretrained(backbone).task_config.pooling == "mean"


def test_a_repository_and_its_cache(hub, monkeypatch, caplog):
    hub.store.create("model", REPO)
    hub.foreign_commit(REPO, {"config.json": b"{}"})
    assert trained_pooling(REPO) is None
    assert not caplog.records
    hub.foreign_commit(REPO, {FILE: json.dumps(flags("mean_tokens")).encode()})
    assert trained_pooling(REPO) == "mean"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert trained_pooling(REPO) == "mean"


def test_a_repository_that_cannot_be_asked(hub, monkeypatch, caplog):
    hub.store.create("model", REPO)
    hub.foreign_commit(REPO, {"config.json": b"{}"})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with caplog.at_level(logging.WARNING):
        assert trained_pooling(REPO) is None
    assert "Whether user/encoder is a sentence encoder could not be asked" in caplog.text
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert trained_pooling(REPO) is None
    caplog.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the cache now knows that there is none
    assert trained_pooling(REPO) is None
    assert not caplog.records


def test_the_mean_is_what_heads_read(encoder):
    model = AtlasModel.from_pretrained(encoder)
    model.add_task(text_spec("one"))
    batch = model.processor(["a b c", "b"], return_tensors="pt", padding=True)
    with torch.no_grad():
        hidden = model.get_base_model()(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        assert torch.allclose(model.pooled("one", **batch), (hidden * mask).sum(1) / mask.sum(1), atol=1e-6)
