"""What this package did not write in a folder is never replaced, moved, removed or pushed."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from atlas_hf import AtlasConfig, AtlasModel, cli, learn_sequence
from atlas_hf.folder import (
    CARD,
    HOME,
    INDEX,
    MARK,
    REPORT_FILES,
    AtlasFormatError,
    EditedError,
    Index,
    Owned,
    paths_of_a_run,
)
from atlas_hf.hub.folder import commit_files, finished_tasks, snapshot
from atlas_hf.report.card import write_card, write_task_card
from atlas_hf.training.checkpoints import begin_checkpoint, remove_checkpoints, remove_older_checkpoints
from shared.tiny import learned, picture, quick, splits, text_spec

NAMES = sorted({path.parts[0] for path in paths_of_a_run(Path(), ["one"])} | {HOME})
STREAM = [(text_spec("one"), splits("a"))]


def put(path, kind):
    """A stranger's file, or folder with a file; where its bytes are."""
    file = path if kind == "file" else path / "notes.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    return file


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_stranger_is_replaced(bert, tmp_path, name, kind):
    """By a run, before anything is learned, under every name that it would write."""
    mine = put(tmp_path / name, kind)
    with pytest.raises(ValueError, match=rf"In the way: .*{re.escape(name)} \(a {kind}\).*Give another folder"):
        learn_sequence(bert, STREAM, quick(max_steps=1), tmp_path)
    assert mine.read_text() == "mine" and bert.tasks == []
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("name", ["one", INDEX, HOME])
def test_a_save_replaces_nothing_of_a_stranger(bert_folder, tmp_path, name, kind):
    mine = put(tmp_path / name, kind)
    with pytest.raises(ValueError, match=rf"In the way: .*{re.escape(name)}"):
        learned(bert_folder, ["one"]).save_pretrained(tmp_path)
    assert mine.read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", REPORT_FILES)
def test_a_report_replaces_nothing_of_a_stranger(tmp_path, name):
    mine = put(tmp_path / name, "file")
    owned = Owned(tmp_path)
    owned.remove(mine)
    with pytest.raises(ValueError, match="In the way"), owned.replacing(mine):
        raise AssertionError("it began")
    assert mine.read_text() == "mine"


def test_a1_learning_pets_into_the_parent_folder_keeps_pets(tmp_path, monkeypatch, capsys):
    for number in range(12):
        path = tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(("red", "blue")[number % 2]).save(path)
    put(tmp_path / "pets/notes.txt", "file")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    options = ["--data", "pets", "--label-column", "label", "--backbone", "atlas-hf/digits-vilt", "--output", "."]
    assert cli.main(["learn", *options]) == 2
    assert "In the way: pets (a folder)" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a2_a_readme_of_the_user_is_refused_before_training_and_an_edited_card_stays(bert, bert_folder, tmp_path):
    mine = put(tmp_path / "mine" / CARD, "file")
    with pytest.raises(ValueError, match=r"In the way: .*README.md \(a file\)"):
        learn_sequence(bert, STREAM, quick(max_steps=1), tmp_path / "mine")
    assert mine.read_text() == "mine"
    folder = tmp_path / "ours"
    learned(bert_folder, ["one"]).save_pretrained(folder)
    card = write_card(folder)
    assert write_card(folder) == card
    card.write_text("my words")
    with pytest.raises(EditedError, match="README.md was edited since atlas_hf wrote it, so it stays as it is"):
        write_card(folder)
    assert card.read_text() == "my words"


def test_a3_a_private_screenshot_is_not_pushed(bert_folder, tmp_path):
    learned(bert_folder, ["one"]).save_pretrained(tmp_path)
    for name in ("private_screenshot.png", "accuracy_matrix.png", "results.json", "one/README.md", "one/notes.txt"):
        put(tmp_path / name, "file")
    files = commit_files(tmp_path, finished_tasks(tmp_path))
    ours = {"atlas.json", "one/adapter_config.json", "one/adapter_model.safetensors", "one/task.json"}
    assert set(files) == ours


@pytest.mark.parametrize("name", ["one/task.json", "one", INDEX, "results.json"])
def test_a4_a_link_is_neither_read_nor_pushed(bert, bert_folder, tmp_path, name):
    folder = tmp_path / "run"
    learned(bert_folder, ["one"]).save_pretrained(folder)
    path, outside = folder / name, tmp_path / "outside"
    if path.exists():
        path.rename(outside)
    else:
        outside.write_text("{}")
    path.symlink_to(outside)
    with pytest.raises((AtlasFormatError, ValueError), match="leads out of the folder, to .*outside: it is a link"):
        bert.load_tasks(folder) if name != "results.json" else write_card(folder)


def test_a_folder_that_is_a_link_itself_is_written(bert_folder, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    learned(bert_folder, ["one"]).save_pretrained(tmp_path / "link")
    assert list(Index.load(tmp_path / "real").tasks) == ["one"]


def test_a_pipe_is_in_the_way(bert, tmp_path):
    os.mkfifo(tmp_path / INDEX)
    with pytest.raises(ValueError, match=r"atlas.json \(a device or pipe\)"):
        learn_sequence(bert, STREAM, quick(max_steps=1), tmp_path)


def test_a_note_in_our_task_folder_stays(bert_folder, tmp_path):
    model = learned(bert_folder, ["one"])
    model.save_pretrained(tmp_path)
    mine = put(tmp_path / "one/notes.txt", "file")
    inner = put(tmp_path / "one/expansion/checkpoint-7", "folder")
    model.save_pretrained(tmp_path)
    assert mine.read_text() == inner.read_text() == "mine"


def test_a_killed_save_is_known_as_ours(bert_folder, tmp_path, monkeypatch):
    """Killed after the task's folder and before the index."""
    model = learned(bert_folder, ["one"])

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Index, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            model.save_pretrained(tmp_path)
    assert (tmp_path / "one").is_dir() and not (tmp_path / INDEX).exists()
    model.save_pretrained(tmp_path)
    assert AtlasModel.from_pretrained(tmp_path, config=AtlasConfig(r=4)).tasks == ["one"]


def test_a_checkpoint_of_a_stranger_stays(tmp_path):
    stage = tmp_path / "one/expansion"
    theirs = put(stage / "checkpoint-7", "folder")
    for step in (1, 2, 3):
        (stage / f"checkpoint-{step}").mkdir()
        (stage / f"checkpoint-{step}" / MARK).write_text(json.dumps({"files": {}}))
    remove_older_checkpoints(tmp_path, stage, 1, None)
    assert sorted(path.name for path in stage.iterdir()) == ["checkpoint-3", "checkpoint-7"]
    remove_checkpoints(tmp_path, "one")
    assert theirs.read_text() == "mine"


def test_a_folder_of_an_older_version_goes_on(bert_folder, tmp_path):
    model = learned(bert_folder, ["one"])
    model.save_pretrained(tmp_path)
    write_card(tmp_path)
    for path in (tmp_path / HOME).iterdir():
        path.unlink()
    (tmp_path / HOME).rmdir()
    model.save_pretrained(tmp_path)
    write_card(tmp_path)


def test_every_promise_names_a_test_that_exists():
    root = Path(__file__).parents[2]
    rows = re.findall(r"^\| .* \| `(.*)::(.*)` \|$", (root / "docs/files.md").read_text(), re.MULTILINE)
    assert len(rows) > 10
    for file, test in rows:
        assert f"\ndef {test}(" in (root / file).read_text(), test


def test_what_a_killed_run_had_removed_is_forgotten(tmp_path):
    """Else a stranger's folder of that name would count as ours."""
    owned = Owned(tmp_path)
    owned.begin_folder(tmp_path / "task" / "stage")
    owned.remove(tmp_path / "task")
    assert not [name for name in owned.list.names() if name.startswith("task")]
    (tmp_path / "task").mkdir()
    assert not owned.owns(tmp_path / "task")


@pytest.mark.parametrize("half", [False, True], ids=["empty", "half written"])
def test_a_checkpoint_of_a_run_that_was_killed_while_it_marked_is_replaced(tmp_path, half):
    checkpoint = tmp_path / "task" / "expansion" / "checkpoint-2"
    begin_checkpoint(tmp_path, checkpoint)
    scratch = checkpoint / f".{MARK}.abc.partial"
    scratch.mkdir(parents=True)
    (checkpoint / "task").mkdir()
    if half:
        (scratch / MARK).write_text("{")
    begin_checkpoint(tmp_path, checkpoint)
    assert not checkpoint.exists()


def of_an_older_version(folder):
    """What a version wrote that kept no list."""
    shutil.rmtree(folder / HOME)
    return folder / "README.md"


@pytest.mark.parametrize("name", ["README.md", "one/README.md"])
def test_in_a_folder_of_an_older_version_a_readme_of_the_user_is_in_the_way(name, bert_folder, tmp_path):
    """It is no card of ours, whatever lies beside it."""
    learned(bert_folder, ["one"]).save_pretrained(tmp_path)
    of_an_older_version(tmp_path)
    (tmp_path / name).write_text("my notes on atlas_hf\n")
    with pytest.raises(ValueError, match=f"In the way: .*{name} .a file.. atlas_hf did not write that"):
        write_task_card(tmp_path, "one") if "/" in name else write_card(tmp_path)
    assert (tmp_path / name).read_text() == "my notes on atlas_hf\n"
    assert "README.md" not in str(Owned(tmp_path).list.names())


@pytest.mark.parametrize("kept", [False, True], ids=["no earlier state", "with .history"])
def test_in_a_folder_of_an_older_version_an_edited_card_stays(kept, bert_folder, tmp_path):
    learned(bert_folder, ["one"]).save_pretrained(tmp_path)
    write_card(tmp_path, "me/one")
    if kept:
        snapshot(tmp_path, "one")
    card = of_an_older_version(tmp_path)
    before = card.read_text()
    card.write_text(f"{before}\nMy own words.\n")
    with pytest.raises(EditedError, match="or a version of atlas_hf wrote it that took no note of that"):
        write_card(tmp_path)
    assert "My own words." in card.read_text()
    of_an_older_version(tmp_path).write_text(before)
    write_card(tmp_path, "me/one")  # as it would be written anew: not edited, and known from now on
    write_card(tmp_path, "me/other")
    assert "me/other" in card.read_text()


def test_in_a_folder_of_an_older_version_pictures_without_results_are_not_ours(bert_folder, tmp_path):
    learned(bert_folder, ["one"]).save_pretrained(tmp_path)
    of_an_older_version(tmp_path)
    for name in ("reuse.png", "accuracy_matrix.png", "results.json"):
        put(tmp_path / name, "file")
    assert {"atlas.json", "one/"} <= set(Owned(tmp_path).list.names())
    assert not [name for name in Owned(tmp_path).list.names() if name.endswith(".png") or name == "results.json"]


def test_a_list_that_names_no_path_in_the_folder_claims_nothing(tmp_path):
    (tmp_path / HOME).mkdir()
    names = ["../x", "/x", ".", "./", "", "/", "a/../../x", "a\0b", "\ud800", "ours"]
    values = {"written_by": "atlas_hf", "files": {name: [] for name in names}}
    (tmp_path / HOME / "files.json").write_text(json.dumps(values))
    assert list(Owned(tmp_path).list.names()) == ["ours"]
