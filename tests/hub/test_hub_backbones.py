"""Where a backbone is: found again from any directory, never published if it is local, and refused in clear words."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasModel, hub
from atlas_hf.cli import main
from atlas_hf.report.card import write_card
from shared.hub_server import loopback_hub
from shared.tiny import randomize, text_spec


@pytest.fixture
def home(bert_folder, tmp_path, monkeypatch):
    """A working directory with `models/bert`."""
    shutil.copytree(bert_folder, tmp_path / "home/models/bert")
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def server(tmp_path):
    with loopback_hub(tmp_path / "server") as running:
        yield running


def save(source, folder):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(source, config=AtlasConfig(r=4))
    model.add_task(text_spec("one"))
    randomize(model, "one")
    model.set_stage("one", "complete")
    model.save_pretrained(folder)
    return model


def rename(folder: Path, base_id: str) -> None:
    """As a folder of an older version has it."""
    index = json.loads((folder / "atlas.json").read_text())
    index["base_model"]["id"] = base_id
    (folder / "atlas.json").write_text(json.dumps(index))


@pytest.mark.parametrize("source", ["models/bert", "./models/bert", Path("models/bert"), "models/../models/bert/"])
def test_c6_a_relative_backbone_is_found_from_another_directory(home, monkeypatch, source):
    model = save(source, home / "run")
    assert json.loads((home / "run/atlas.json").read_text())["base_model"]["id"] == str(home / "models/bert")
    monkeypatch.chdir(home.parent / "away")
    loaded = AtlasModel.from_pretrained(home / "run")
    assert loaded.predict("one", texts="a b") == model.predict("one", texts="a b")


def test_c6_a_model_that_is_passed_names_its_folder_likewise(home):
    backbone = AutoModel.from_pretrained("models/bert")
    assert AtlasModel(backbone).task_config.base_model_name_or_path == str(home / "models/bert")
    model = AtlasModel.from_pretrained("models/bert", backbone=AutoModel.from_pretrained("models/bert"))
    assert model.task_config.base_model_name_or_path == str(home / "models/bert")


def test_c6_what_was_loaded_from_a_folder_is_not_pushed_from_anywhere(home, monkeypatch, server):
    model = save("models/bert", home / "run")
    monkeypatch.chdir(home.parent / "away")
    with pytest.raises(ValueError, match="Nobody else could load this model: the backbone .* is a local folder"):
        model.check_pushable()
    with pytest.raises(hub.FolderError, match="names the backbone .*bert', a local folder, so nobody else could load"):
        hub.push(home / "run", "user/x", endpoint=server.url, token="hf_write")
    assert not server.requests()


def test_c6_a_folder_that_names_its_backbone_relatively_goes_on_and_is_mended(home, monkeypatch):
    save("models/bert", home / "run")
    rename(home / "run", "models/bert")
    model = AtlasModel.from_pretrained("run")
    with pytest.raises(ValueError, match="is a local folder"):
        model.check_pushable()
    model.save_pretrained("run")
    monkeypatch.chdir(home.parent / "away")
    assert AtlasModel.from_pretrained(home / "run").tasks == ["one"]


@pytest.mark.parametrize("base_id", [None, "./models/bert", "C:\\models\\bert"])
def test_c6_a_backbone_that_has_moved_is_told_with_what_to_do(home, base_id, capsys):
    save("models/bert", home / "run")
    if base_id:
        rename(home / "run", base_id)
    shutil.move("models/bert", "moved")
    with pytest.raises(
        ValueError, match=r"The backbone was loaded from the folder .*bert', which is not there .any more"
    ):
        AtlasModel.from_pretrained("run")
    assert main(["predict", "run", "--task", "one", "--text", "a"]) == 2
    assert "Pass backbone=..., the place where it is now" in capsys.readouterr().err
    assert AtlasModel.from_pretrained("run", backbone="moved").tasks == ["one"]


def test_c6_a_card_names_no_local_path(home):
    save("models/bert", home / "run")
    text = write_card(home / "run").read_text()
    assert str(home) not in text and "models/bert" not in text


def test_c6_a_folder_goes_before_a_repository_of_the_same_name(home, server):
    """As in transformers."""
    shutil.copytree("models/bert", "user/bert")
    model = AtlasModel.from_pretrained("user/bert")
    assert model.task_config.base_model_name_or_path == str(home / "user/bert") and not server.requests()


@pytest.fixture
def pickled(bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save(AutoModel.from_pretrained(bert_folder).state_dict(), folder / "pytorch_model.bin")
    return folder


def test_c7_a_backbone_of_pickles_is_refused_and_converted_as_told(pickled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match="has its weights as pytorch_model.bin alone. .* only safetensors are"
    ) as error:
        AtlasModel.from_pretrained("pickled")
    command = str(error.value).partition("transformers: ")[2].partition(", its processor")[0]
    exec(command, {"AutoModel": AutoModel})
    assert AtlasModel.from_pretrained("pickled-safetensors").tasks == []


def test_c7_a_backbone_of_pickles_on_the_hub_is_refused_likewise(pickled, server):
    api = hub.target.HfApi(endpoint=server.url, token="hf_write")
    api.create_repo("user/pickled")
    server.foreign_commit("user/pickled", {path.name: path.read_bytes() for path in pickled.iterdir()})
    with pytest.raises(ValueError, match="user/pickled has its weights as pytorch_model.bin alone"):
        AtlasModel.from_pretrained("user/pickled")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights: no model.safetensors. Give a whole"),
        (lambda folder: (folder / "config.json").unlink(), "is no model of transformers: it has no config.json. Give"),
        (
            lambda folder: os.truncate(folder / "model.safetensors", 1000),
            "is truncated or not a safetensors .*Restore",
        ),
    ],
    ids=["no weights", "no config", "truncated"],
)
def test_c7_a_folder_that_is_no_backbone_is_told(bert_folder, tmp_path, spoil, text):
    folder = shutil.copytree(bert_folder, tmp_path / "spoiled")
    spoil(folder)
    with pytest.raises(ValueError, match=text):
        AtlasModel.from_pretrained(folder)


def test_c7_a_backbone_in_a_subfolder_is_named(bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path / "whole/encoder")
    with pytest.raises(ValueError, match=r"has no config.json. Its folders \['encoder'\] do; give one of them"):
        AtlasModel.from_pretrained(tmp_path / "whole")
    assert AtlasModel.from_pretrained(tmp_path / "whole/encoder").tasks == []
    text = r"If 'encoder' is a folder of it: huggingface_hub.snapshot_download\('user/whole'\), then its path"
    with pytest.raises(ValueError, match=text):
        AtlasModel.from_pretrained("user/whole/encoder")


def test_c9_a_backbone_of_the_hub_without_a_network_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("atlas_hf.hub.retry.FIRST_PATIENCE", 0.0)
    assert main(["learn", "--smoke", "--backbone", "user/bert", "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "the Hub does not answer" in error and "A folder needs none" in error and len(error.splitlines()) == 1
