"""Every writer, against a file or folder of somebody else under every name that it writes: all of it stays.

A run refuses before anything is learned; what others put into a folder of ours is left there.
"""

import json
import re

import pytest

from atlas_hf import AtlasTrainer, cli, learn_sequence
from atlas_hf.benchmark.learning.report import write_report
from atlas_hf.folder import CARD, HISTORY, HOME, INDEX, REPORT_FILES, RESULTS, TASK_FILES, Results, TaskResult
from atlas_hf.hub.folder import snapshot
from atlas_hf.report.card import write_card, write_cards, write_task_card
from atlas_hf.report.pictures import draw_results
from shared.benchmark_cells import alone
from shared.comparing import file_digests
from shared.tiny import learned, quick, splits, text_data, text_spec

KINDS = pytest.mark.parametrize("kind", ["file", "folder"])
TASK = [f"one/{file}" for file in TASK_FILES]
STATE = f"{HISTORY}/01-one"
MEASURED = Results([TaskResult("one", score=0.5)], [[0.5]])


def put(path, kind):
    """A stranger's file, or folder with a file in it."""
    file = path if kind == "file" else path / "notes.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")


def refuses(folder, name, kind, write):
    """It says what is in the way, and nothing at all is changed in the folder."""
    put(folder / name, kind)
    before = file_digests(folder)
    with pytest.raises(ValueError, match=rf"In the way: .*{re.escape(name.split('/')[-1])} \(a {kind}\).*elsewhere"):
        write()
    assert file_digests(folder) == before


@pytest.fixture(scope="module")
def model(bert_folder):
    return learned(bert_folder, ["one"])


@pytest.fixture
def ours(model, tmp_path):
    """A folder of ours without cards, pictures and earlier states."""
    model.save_pretrained(tmp_path / "ours")
    MEASURED.save(tmp_path / "ours")
    return tmp_path / "ours"


@KINDS
@pytest.mark.parametrize("name", [HOME, INDEX, *TASK])
def test_save_pretrained(model, tmp_path, name, kind):
    put(tmp_path / name, kind)
    before = file_digests(tmp_path)
    with pytest.raises(ValueError, match="In the way: "):
        model.save_pretrained(tmp_path)
    assert file_digests(tmp_path) == before


@KINDS
@pytest.mark.parametrize("name", [f"one/{file}" for file in ("notes.txt", "checkpoint-1", CARD)])
def test_what_others_put_into_our_task_stays(model, ours, name, kind):
    put(ours / name, kind)
    before = file_digests(ours)
    model.save_pretrained(ours)
    assert file_digests(ours) == before


@KINDS
def test_the_card(ours, kind):
    refuses(ours, CARD, kind, lambda: write_card(ours))


@KINDS
def test_the_card_of_a_task(ours, kind):
    refuses(ours, f"one/{CARD}", kind, lambda: write_task_card(ours, "one"))


@KINDS
def test_the_cards_of_earlier_states(ours, kind):
    """A state that we kept, without its card."""
    write_card(ours)
    snapshot(ours, "one")
    (ours / STATE / CARD).unlink()
    listed = json.loads((ours / HOME / "files.json").read_text())
    del listed["files"][f"{STATE}/{CARD}"]
    (ours / HOME / "files.json").write_text(json.dumps(listed))
    put(ours / STATE / CARD, kind)
    before = file_digests(ours / STATE)
    with pytest.raises(ValueError, match=rf"In the way: .*{CARD}"):
        write_cards(ours, "me/run")
    assert file_digests(ours / STATE) == before


@KINDS
@pytest.mark.parametrize("name", ["accuracy_matrix.png", "reuse.png"])
def test_the_pictures(ours, tmp_path, name, kind):
    put(ours / name, kind)
    before = file_digests(ours)
    with pytest.raises(ValueError, match=rf"In the way: .*{name}"):
        draw_results(MEASURED, ours)
    after = file_digests(ours)
    assert {path: after[path] for path in before if HOME not in path} == {
        path: digest for path, digest in before.items() if HOME not in path
    }


@KINDS
def test_the_results(model, tmp_path, kind):
    model.save_pretrained(tmp_path)
    refuses(tmp_path, RESULTS, kind, lambda: MEASURED.save(tmp_path))


@KINDS
@pytest.mark.parametrize("name", [HISTORY, STATE, f"{STATE}/{INDEX}"])
def test_a_state_that_is_kept(ours, name, kind):
    put(ours / name, kind)
    before = file_digests(ours)
    with pytest.raises(ValueError, match=r"In the way: .*\.history"):
        snapshot(ours, "one")
    assert {path: digest for path, digest in file_digests(ours).items() if HOME not in path} == {
        path: digest for path, digest in before.items() if HOME not in path
    }


@KINDS
@pytest.mark.parametrize("name", [*REPORT_FILES, HOME])
def test_the_report_of_a_benchmark(tmp_path, name, kind):
    for cell in alone():
        cell.write(tmp_path)
    refuses(tmp_path, name, kind, lambda: write_report(tmp_path))


@KINDS
def test_prune(ours, tmp_path, capsys, kind):
    put(tmp_path / "mine", kind)
    before = file_digests(tmp_path)
    assert cli.main(["prune", str(ours), "--tasks", "one", "--output", str(tmp_path / "mine")]) == 2
    assert "exists already; give --output a new folder" in capsys.readouterr().err
    assert file_digests(tmp_path) == before


def test_prune_into_a_link_that_leads_nowhere(ours, tmp_path, capsys):
    (tmp_path / "mine").symlink_to(tmp_path / "gone")
    assert cli.main(["prune", str(ours), "--tasks", "one", "--output", str(tmp_path / "mine")]) == 2
    assert "exists already" in capsys.readouterr().err and (tmp_path / "mine").is_symlink()


@KINDS
@pytest.mark.parametrize("name", ["letters.yaml", "letters", INDEX, HOME])
def test_learning_own_data(bert_folder, tmp_path, capsys, name, kind):
    (tmp_path / "data").mkdir()
    rows = "".join(f"{text},{label}\n" for text, label in zip(*text_data("a", 24).to_dict().values(), strict=True))
    (tmp_path / "data/train.csv").write_text(f"text,label\n{rows}")
    put(tmp_path / "run" / name, kind)
    before = file_digests(tmp_path)
    options = ["--data", str(tmp_path / "data"), "--task", "letters", "--backbone", str(bert_folder)]
    assert cli.main(["learn", *options, "--output", str(tmp_path / "run")]) == 2
    assert re.search(rf"In the way: .*{re.escape(name)} \(a {kind}\)|atlas.json is not JSON", capsys.readouterr().err)
    assert file_digests(tmp_path) == before


# Trainers ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trainer(bert, tmp_path):
    bert.add_task(text_spec("one"))
    steps = {"max_steps": 2, "eval_strategy": "no", "load_best_model_at_end": False, "save_strategy": "steps"}
    return AtlasTrainer(bert, quick(tmp_path / "out", save_steps=1, **steps), "one", text_data("a", 32))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("one", "file"), ("one/expansion", "file"), (HOME, "file"), (HOME, "folder"),
        ("one/expansion/checkpoint-1", "file"), ("one/expansion/checkpoint-1", "folder"),
        ("one/expansion/checkpoint-2", "file"), ("one/expansion/checkpoint-2", "folder"),
    ],
)  # fmt: skip
def test_a_trainer_before_it_trains(trainer, tmp_path, name, kind):
    def unexpected(*_, **__):
        raise AssertionError("it trained")

    trainer.training_step = unexpected
    refuses(tmp_path / "out", name, kind, trainer.train)
    assert trainer.model.peft_config["one"].stage == "expansion" and trainer.state.global_step == 0


@pytest.mark.parametrize(
    "name", ["one", "one/expansion", "one/expansion/checkpoint-3", "one/expansion/notes", "model"]
)
def test_a_trainer_beside_others_folders(trainer, tmp_path, name):
    """Where nothing of ours will have that very name, it trains, and leaves them as they are."""
    put(tmp_path / "out" / name, "folder")
    trainer.train()
    assert (tmp_path / "out" / name / "notes.txt").read_text() == "mine"


@KINDS
@pytest.mark.parametrize("write", ["save_model", "create_model_card"])
@pytest.mark.parametrize("name", [HOME, INDEX, *TASK])
def test_saving_by_a_trainer(trainer, tmp_path, write, name, kind):
    trainer.model.set_stage("one", "complete")
    put(tmp_path / "out/model" / name, kind)
    before = file_digests(tmp_path)
    with pytest.raises(ValueError, match="In the way: "):
        getattr(trainer, write)()
    assert file_digests(tmp_path) == before


@KINDS
def test_the_card_by_a_trainer(trainer, tmp_path, kind):
    trainer.model.set_stage("one", "complete")
    put(tmp_path / "out/model" / CARD, kind)
    before = file_digests(tmp_path / "out")
    with pytest.raises(ValueError, match=rf"In the way: .*{CARD}"):
        trainer.create_model_card()
    assert before.items() <= file_digests(tmp_path / "out").items()


@KINDS
@pytest.mark.parametrize("name", [".checkpoints/one", ".history/01-one", "one/task.json", "two"])
def test_a_sequence_in_a_folder_that_it_has_begun(bert_folder, bert, tmp_path, name, kind):
    """A name that only the next task would write, or in a folder of ours."""
    stream = [(text_spec(task), splits("a", 16, 8)) for task in ("two", "one")]
    put(tmp_path / name, kind)
    before = file_digests(tmp_path)
    with pytest.raises(ValueError, match="In the way: "):
        learn_sequence(bert, stream, quick(max_steps=1), tmp_path)
    assert file_digests(tmp_path) == before and bert.tasks == []
