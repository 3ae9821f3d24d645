"""Every reader of a folder refuses a link in place of a file, or of a folder on the way, that leads out of it."""

import shutil

import pytest

from atlas_hf import AtlasFormatError, AtlasModel, AtlasTrainer, cli, learn_sequence
from atlas_hf.benchmark.learning.cells import read_cells
from atlas_hf.demo.places import home
from atlas_hf.folder import INDEX, MARK, RESULTS, TASK_FILES, WEIGHTS, Results, TaskResult
from atlas_hf.hub.folder import commit_files, finished_tasks
from atlas_hf.report.card import write_card, write_cards, write_task_card
from atlas_hf.training.checkpoints import Checkpoint, last_good_checkpoint
from shared.benchmark_cells import alone
from shared.tiny import learned, quick, splits, text_data, text_spec

LINK = "leads out of the folder, to .*outside.*: it is a link"
IN_TASK = ["one", *(f"one/{file}" for file in TASK_FILES)]
OF_CARD = [INDEX, RESULTS, "one", *(f"one/{file}" for file in TASK_FILES)]


COMMANDS = {
    "info": [INDEX, RESULTS], "info --json": [INDEX, RESULTS], "card": OF_CARD, "evaluate": OF_CARD,
    "predict": [INDEX, *IN_TASK], "push": OF_CARD, "prune": OF_CARD,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder_once(bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("links") / "run"
    learned(bert_folder, ["one", "two"]).save_pretrained(folder)
    Results([TaskResult("one"), TaskResult("two", experience=["one"])], [[0.5, None], [0.5, 0.5]]).save(folder)
    return folder


@pytest.fixture
def folder(folder_once, tmp_path):
    return shutil.copytree(folder_once, tmp_path / "run")


def by_link(path, outside):
    """What is at the path is elsewhere, and there a link to it."""
    path.rename(outside)
    path.symlink_to(outside)


@pytest.mark.parametrize("name", OF_CARD)
@pytest.mark.parametrize(
    "read",
    [write_card, lambda folder: write_task_card(folder, "one"), lambda folder: home(str(folder))],
    ids=["card", "task card", "demo"],
)
def test_card_and_demo(folder, tmp_path, read, name):
    by_link(folder / name, tmp_path / "outside")
    with pytest.raises(AtlasFormatError, match=LINK):
        read(folder)
    assert not (folder / "README.md").exists()


@pytest.mark.parametrize("name", [INDEX, *IN_TASK])
def test_loading(bert, folder, tmp_path, name):
    by_link(folder / name, tmp_path / "outside")
    for read in (bert.load_tasks, AtlasModel.from_pretrained):
        with pytest.raises(AtlasFormatError, match=LINK):
            read(folder)
    assert bert.tasks == []


@pytest.mark.parametrize("name", IN_TASK)
def test_loading_as_peft_does(bert, folder, tmp_path, name):
    by_link(folder / name, tmp_path / "outside")
    with pytest.raises(AtlasFormatError, match=LINK):
        bert.load_adapter(folder, "one", subfolder="one")


@pytest.mark.parametrize("name", [INDEX, *IN_TASK])
def test_a_push(folder, tmp_path, name):
    by_link(folder / name, tmp_path / "outside")
    with pytest.raises(ValueError, match=LINK):
        commit_files(folder, finished_tasks(folder)[:1])


def test_the_cards_of_earlier_states(folder, tmp_path):
    write_card(folder)
    (folder / ".history").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / INDEX).write_bytes((folder / INDEX).read_bytes())
    by_link(tmp_path / "state", folder / ".history" / "01-one")  # the link is outside: move it in
    (tmp_path / "state").unlink()
    by_link(folder / ".history" / "01-one", tmp_path / "outside")
    with pytest.raises(AtlasFormatError, match=LINK):
        write_cards(folder, "me/run")
    assert [path.name for path in (tmp_path / "outside").iterdir()] == [INDEX]


@pytest.mark.parametrize(("command", "name"), [(command, name) for command in COMMANDS for name in COMMANDS[command]])
def test_each_command(folder, tmp_path, monkeypatch, capsys, command, name):
    monkeypatch.setattr("atlas_hf.hub.pushable_tasks", finished_tasks)
    monkeypatch.setattr("atlas_hf.hub.ensure_writable_repo", lambda repo_id, **_: repo_id)
    monkeypatch.setattr("atlas_hf.cli.stream_tasks.scored_on", lambda *_: (text_spec("two"), text_data("a", 4)))
    by_link(folder / name, tmp_path / "outside")
    before = sorted(folder.rglob("*"))
    further = {
        "predict": ["--task", "two", "--text", "a b"],
        "push": ["me/run"],
        "prune": ["--tasks", "two", "--output", str(tmp_path / "pruned")],
    }
    name_of, *options = command.split()
    assert cli.main([name_of, str(folder), *options, *further.get(command, [])]) == 2
    assert "it is a link, which is neither read nor pushed" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before and not (tmp_path / "pruned").exists()


def test_the_file_of_an_own_task(folder, tmp_path, capsys):
    (tmp_path / "outside").write_text(f"data: {tmp_path}\nname: one\n")
    (folder / "one.yaml").symlink_to(tmp_path / "outside")
    assert cli.main(["evaluate", str(folder), "--tasks", "one"]) == 2
    assert "it is a link" in capsys.readouterr().err


@pytest.mark.parametrize("name", [INDEX, RESULTS, *IN_TASK])
def test_going_on_with_a_sequence(bert_folder, folder, tmp_path, name):
    """With a model that holds the folder's tasks already, and so loads nothing."""
    model = AtlasModel.from_pretrained(folder)
    by_link(folder / name, tmp_path / "outside")
    stream = [(text_spec(task), splits("a")) for task in ("one", "two", "three")]
    with pytest.raises(ValueError, match=rf"{LINK}|In the way: .*{name} \(a link\)"):
        learn_sequence(model, stream, quick(max_steps=1), folder)


@pytest.mark.parametrize("name", IN_TASK)
def test_a_save_does_not_seal_what_a_link_leads_to(folder, tmp_path, name):
    """Of a task that is in the folder already and is not written anew."""
    model = AtlasModel.from_pretrained(folder)
    by_link(folder / name, tmp_path / "outside")
    with pytest.raises(AtlasFormatError, match=LINK):
        model.save_pretrained(folder, tasks=["two"])


@pytest.fixture
def trained(bert, tmp_path):
    """A trainer after its training, and its last checkpoint."""
    bert.add_task(text_spec("one"))
    steps = {"max_steps": 2, "save_steps": 1, "save_strategy": "steps", "save_total_limit": 2}
    steps |= {"eval_strategy": "no", "load_best_model_at_end": False}
    args = quick(tmp_path / "out", **steps)
    trainer = AtlasTrainer(bert, args, "one", text_data("a", 32))
    trainer.train()
    bert.delete_task("one")
    bert.add_task(text_spec("one"))
    return AtlasTrainer(bert, args, "one", text_data("a", 32))


def test_a_checkpoint(trained, tmp_path):
    stage = tmp_path / "out/one/expansion"
    checkpoint = stage / "checkpoint-1"
    files = [path.relative_to(checkpoint) for path in checkpoint.rglob("*")]
    assert {MARK, "trainer_state.json", "optimizer.pt", "one", f"one/{WEIGHTS}"} <= set(map(str, files))
    for name in files:
        by_link(checkpoint / name, tmp_path / "outside")
        with pytest.raises(AtlasFormatError, match=LINK):
            trained.train(str(checkpoint))
        with pytest.raises(AtlasFormatError, match=LINK):
            assert Checkpoint(checkpoint).progress
        (checkpoint / name).unlink()
        (tmp_path / "outside").rename(checkpoint / name)
    by_link(stage / "checkpoint-2" / f"one/{WEIGHTS}", tmp_path / "outside")
    assert last_good_checkpoint(stage, "one") == checkpoint


@pytest.mark.parametrize("name", ["one", "one/expansion", "one/expansion/checkpoint-2"])
def test_a_folder_on_the_way_to_a_checkpoint(trained, tmp_path, name):
    by_link(tmp_path / "out" / name, tmp_path / "outside")
    with pytest.raises(AtlasFormatError, match=LINK):
        trained.train(True)


def test_a_cell_of_a_benchmark(tmp_path):
    cell = alone((0,))[0]
    cell.write(tmp_path)
    by_link(cell.key.path(tmp_path), tmp_path / "outside")
    with pytest.raises(AtlasFormatError, match=LINK):
        read_cells(tmp_path)
