"""`atlas-hf prune`: a new folder whose tasks, results and card agree, and an old one that is left alone."""

import hashlib
import json
import shutil

import pytest

from atlas_hf import AtlasModel
from atlas_hf.cli import main
from atlas_hf.folder import Index

TINY = ["--smoke", "--train_size", "32", "--disable_tqdm", "True", "--recipe", "paper"]


def learn(folder):
    tasks = ["--tasks", "vqa", "text-choice", "--downstream_tasks", "image-parity"]
    return main(["learn", "--stream", "digits", "--order", "multi-first", *tasks, "--output", str(folder), *TINY])


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prune") / "out"
    assert learn(folder) == 0
    return folder


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def test_everything_agrees_with_the_pruned_model(learned, tmp_path, capsys):
    before, old, new = digests(learned), results_of(learned), tmp_path / "pruned"
    upstream = [task["name"] for task in old["tasks"] if task["role"] == "upstream"]
    last = upstream[-1]
    assert main(["prune", str(learned), "--tasks", last, "--threshold", "100", "--output", str(new)]) == 0
    text = capsys.readouterr().out
    results = results_of(new)
    record = next(task for task in results["tasks"] if task["name"] == last)
    pruned = record["pruned"]
    assert pruned["dropped"] == upstream[:-1] == list(pruned["contributions"]) and record["experience"] == []
    assert pruned["before"] == old["matrix"][-1][-1], "measured on what the matrix was"
    assert record["score"] == results["matrix"][-1][-1] == pruned["after"]
    assert results["summary"]["average_accuracy"] == pytest.approx(sum(results["matrix"][-1]) / 2)
    assert all(list(site) == [last] for site in record["coefficients"].values())
    assert f"{pruned['before']:.4f} before, {pruned['after']:.4f} after" in text and "dropped" in text
    assert digests(learned) == before, "the folder itself is as it was"
    others = [path for path in before if path.split("/")[0] in {task["name"] for task in old["tasks"]} - {last}]
    assert {path: digests(new)[path] for path in others if not path.endswith(".md")} == {
        path: before[path] for path in others if not path.endswith(".md")
    }
    index = Index.load(new)
    assert index.tasks[last].experience == [] and index.tasks[last].metrics["random_baseline"] > 0
    assert AtlasModel.from_pretrained(new, tasks=[last]).tasks == [last]
    assert list(new.parent.iterdir()) == [new], "nothing half written is left"
    assert main(["evaluate", str(new), "--tasks", last]) == 0
    assert f" {pruned['after']:.4f} " in capsys.readouterr().out
    assert learn(new) == 0 and results_of(new)["tasks"] == results["tasks"], "learning goes on from there"


def test_a_downstream_task_leaves_the_matrix(learned, tmp_path):
    options = ["--tasks", "image-parity", "--threshold", "0"]
    assert main(["prune", str(learned), *options, "--output", str(tmp_path / "new")]) == 0
    old, new = results_of(learned), results_of(tmp_path / "new")
    assert new["matrix"] == old["matrix"] and new["tasks"][:2] == old["tasks"][:2]
    record = new["tasks"][2]
    assert record["pruned"]["dropped"] == [] and record["score"] == old["tasks"][2]["score"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--tasks", "nothing"], "There is no task 'nothing'; there are"),
        (["--tasks", "FIRST"], "reuse no other task, so there is nothing to prune; those that do are"),
        (["--tasks", "image-parity", "--threshold", "-1"], "--threshold is -1.0; give a share of the vectors"),
        (["--tasks", "image-parity", "--threshold", "nan"], "--threshold is nan; give a share of the vectors"),
    ],
)
def test_bad_input_writes_nothing(learned, tmp_path, options, text, capsys):
    first = results_of(learned)["tasks"][0]["name"]
    options = [first if option == "FIRST" else option for option in options]
    assert main(["prune", str(learned), *options, "--output", str(tmp_path / "new")]) == 2
    assert text in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_a_folder_that_is_there_is_not_written(learned, tmp_path, capsys):
    assert main(["prune", str(learned), "--tasks", "image-parity", "--output", str(tmp_path)]) == 2
    assert f"{tmp_path} exists already; give --output a new folder" in capsys.readouterr().err


def test_data_that_cannot_be_found(learned, tmp_path, capsys):
    copy = shutil.copytree(learned, tmp_path / "copy")
    (copy / "results.json").write_text(json.dumps(results_of(learned) | {"description": {}}))
    assert main(["prune", str(copy), "--tasks", "image-parity", "--output", str(tmp_path / "new")]) == 2
    assert "was not learned from a built-in stream" in capsys.readouterr().err
