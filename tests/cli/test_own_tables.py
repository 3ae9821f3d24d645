"""Several own data sets in one command, or a file of tasks: learned in order, gone on with, and refused in a line."""

import json
import re
import shutil

import pytest
import yaml

from atlas_hf.cli import main
from atlas_hf.cli.learn import say_if_busy
from shared.own_tables import write_texts

QUICK = ["--max_steps", "1", "--r", "3", "--use_cpu", "True", "--disable_tqdm", "True", "--recipe", "paper"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Three tables in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, letter in (("movies", "a"), ("amazon", "b"), ("tweets", "c")):
        write_texts(tmp_path / f"{name}.csv", letter)
    return tmp_path


@pytest.fixture(scope="module")
def learned_once(bert_folder, tmp_path_factory):
    """Two tables, learned by one command."""
    home = tmp_path_factory.mktemp("own")
    places = [str(write_texts(home / name, letter)) for name, letter in (("movies.csv", "a"), ("amazon.tsv", "b"))]
    assert main(["learn", *places, "--backbone", str(bert_folder), "--output", str(home / "run"), *QUICK]) == 0
    return home


@pytest.fixture
def learned(learned_once, tmp_path):
    return shutil.copytree(learned_once / "run", tmp_path / "run")


def names(folder):
    return [task["name"] for task in json.loads((folder / "results.json").read_text())["tasks"]]


def fails(capsys, *line):
    """The one line that is said."""
    assert main(["learn", "--output", "out", *map(str, line)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("atlas-hf learn: ")
    return error


def test_places_are_learned_in_their_order_each_under_the_name_of_its_file(learned_once):
    run = learned_once / "run"
    assert names(run) == ["movies", "amazon"]
    results = json.loads((run / "results.json").read_text())
    assert results["tasks"][1]["experience"] == ["movies"] and len(results["matrix"][1]) == 2
    assert yaml.safe_load((run / "amazon.yaml").read_text())["data"] == str(learned_once / "amazon.tsv")


def test_a_folder_goes_on_without_its_backbone_being_named(learned, here, capsys):
    assert main(["learn", "tweets.csv", "--output", str(learned), *QUICK]) == 0
    assert names(learned) == ["movies", "amazon", "tweets"]
    said = capsys.readouterr().out
    assert said.startswith("tweets: reads 'text', learns 'label' (2 classes: no, yes), from ")
    assert json.loads((learned / "results.json").read_text())["tasks"][2]["experience"] == ["movies", "amazon"]


def test_evaluate_scores_own_tables_again(learned_once, capsys):
    last = json.loads((learned_once / "run/results.json").read_text())["matrix"][-1]
    assert main(["evaluate", str(learned_once / "run")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line[: line.index("  loss")] for line in said] == [
        f"{name}: accuracy {score:.4f}" for name, score in zip(("movies", "amazon"), last, strict=True)
    ]


def test_evaluate_takes_the_data_of_a_folder_that_does_not_know_them(learned, learned_once, capsys):
    """As one that Python wrote, or that came from the Hub."""
    (learned / "movies.yaml").unlink()
    assert main(["evaluate", str(learned), "--tasks", "movies"]) == 2
    assert "Say where they are: --sources movies=PLACE" in capsys.readouterr().err
    line = ["evaluate", str(learned), "--tasks", "movies", "--sources"]
    assert main([*line, f"movies={learned_once / 'movies.csv'}"]) == 0
    score = json.loads((learned / "results.json").read_text())["matrix"][-1][0]
    assert capsys.readouterr().out.startswith(f"movies: accuracy {score:.4f} ")
    other = write_texts(learned.parent / "other.csv", count=90)
    assert main([*line, f"movies={other}"]) == 2
    assert "have changed: 81 rows to train on, where it was learned from 54" in capsys.readouterr().err


def test_a_backbone_that_was_moved_is_said_to_be_gone(learned, here, capsys):
    index = json.loads((learned / "atlas.json").read_text())
    index["base_model"]["id"] = str(here / "gone")
    (learned / "atlas.json").write_text(json.dumps(index))
    assert main(["learn", "tweets.csv", "--output", str(learned)]) == 2
    assert f"backbone {here / 'gone'}, which is no longer there. --backbone PATH says" in capsys.readouterr().err


def test_what_a_line_asks_for_is_the_same_before_and_behind_the_options(here, bert_folder, capsys):
    shown = []
    for line in (["movies.csv", "amazon.csv"], ["--data", "movies.csv", "amazon.csv"]):
        assert main(["learn", *line, "--spec-only", "--output", "out", "--task", "a", "b"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and "name: a\n" in shown[0] and "name: b\n" in shown[0]
    assert sorted(path.name for path in (here / "out").glob("*.yaml")) == ["a.yaml", "b.yaml"]


TASKS = """
backbone: {backbone}
output: out
max_steps: 7
tasks:
  - data: movies.csv
  - amazon.csv
  - data: beside.csv
    name: third
    columns: {{text: review, label_column: stars}}
    settings:
      {{num-train-epochs: 30, learning_rate: 1e-3, lr_scheduler_type: cosine, early_stopping_patience: null, r: 4}}
"""


@pytest.fixture
def asked(monkeypatch):
    """What `learn_sequence` is asked for, which learns nothing."""
    asked = {}

    def learn(model, stream, args, output, *_, **others):
        asked.update(others, stream=stream, args=args, output=output)
        raise ValueError("stopped here")

    monkeypatch.setattr("atlas_hf.training.learn_sequence", learn)
    return asked


def test_a_file_of_tasks_with_columns_and_settings_of_their_own(here, bert_folder, asked):
    (here / "lists").mkdir()
    write_texts(here / "lists/beside.csv", columns=("review", "stars"))
    (here / "lists/tasks.yaml").write_text(TASKS.format(backbone=bert_folder))
    assert main(["learn", "lists/tasks.yaml", "tweets.csv"]) == 2
    assert [spec.name for spec, _ in asked["stream"]] == ["movies", "amazon", "third", "tweets"]
    third = asked["stream"][2][0]
    assert (third.text_columns, third.label_column) == (("review",), "stars")
    assert (asked["args"].max_steps, asked["output"]) == (7, "out")
    own = {"num_train_epochs": 30.0, "learning_rate": 1e-3, "lr_scheduler_type": "cosine", "r": 4}
    settings = {name: {"auto": True} for name in ("movies", "amazon", "third", "tweets")}
    assert asked["settings"] == settings | {"third": {"auto": True, **own, "early_stopping_patience": None}}


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ([], "auto"),
        (["--learning_rate", "0.1"], "auto"),
        (["--num-train-epochs", "20"], {"movies": {"auto": True, "num_train_epochs": 20.0}}),
    ],
    ids=["none", "others", "the default, which is meant"],
)
def test_what_is_not_said_is_chosen_for_the_data(here, bert_folder, asked, line, settings):
    assert main(["learn", "movies.csv", "--backbone", str(bert_folder), "--output", "out", *line]) == 2
    assert asked["settings"] == settings and asked["reuse"] is True


def test_a_stream_has_settings_of_its_own(asked, tmp_path):
    assert main(["learn", "--smoke", "--tasks", "text-choice", "--output", str(tmp_path / "out")]) == 2
    assert asked["settings"] is None


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("{data: movies.csv, nmae: x}", "the task of movies.csv has 'nmae', .*; possible are data, .* mean name"),
        ("{name: x}", "a task is {'name': 'x'}; give each a line `data: PLACE`"),
        ("{data: a.csv, columns: {lable: x}}", "under columns, has 'lable', .* possible are image, .*mean label"),
        ("{data: a.csv, columns: x}", "the task of a.csv has columns: 'x'; give lines `name: value` below it"),
        (
            "{data: a.csv, settings: {lerning_rate: 1}}",
            "settings, has 'lerning_rate'.*mean learning_rate",
        ),
        ("{data: a.csv, name: a.b}", "Task name 'a.b' is not allowed"),
    ],
)
def test_a_file_of_tasks_that_is_wrong_is_told_so(here, capsys, task, text):
    (here / "tasks.yaml").write_text(f"output: out\ntasks: [{task}]\n")
    assert main(["learn", "tasks.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(text, error), error


def test_a_setting_that_is_no_number_is_told_so(here, capsys):
    (here / "tasks.yaml").write_text("output: out\ntasks: [{data: movies.csv, settings: {max_steps: many}}]\n")
    with pytest.raises(SystemExit, match="2"):
        main(["learn", "tasks.yaml"])
    assert "invalid int value: 'many'" in capsys.readouterr().err


def test_every_bad_input_is_a_line_before_anything_is_written(here, bert_folder, capsys):
    backbone = ["--backbone", bert_folder]
    (here / "empty.csv").touch()
    (here / "header.csv").write_text("text,label\n")
    (here / "movies.xlsx").write_text("x")
    (here / "more").mkdir()
    write_texts(here / "more/movies.csv")
    (here / "other.csv").write_text("review,stars,who\na b,1,x\nc d,2,y\n")
    assert "There is no file 'twets.csv'. Did you mean 'tweets.csv'?" in fails(capsys, "movies.csv", "twets.csv")
    assert "There is no file 'tweets'. Did you mean 'tweets.csv'?" in fails(capsys, "tweets", *backbone)
    (here / "encoder").symlink_to(bert_folder)
    for place, text in (
        ("encodr", "There is no folder 'encodr'. Did you mean encoder?"),
        ("more", "more is no model of transformers"),
        ("movies.csv", "The backbone 'movies.csv' is a file. Give the folder or Hub id of a pretrained encoder"),
        ("more/encoder", "There is no 'more/encoder'; in 'more'"),
    ):
        assert text in fails(capsys, "movies.csv", "--backbone", place)
    assert "The file empty.csv is empty" in fails(capsys, "movies.csv", "empty.csv", *backbone)
    assert "nothing to read in" in fails(capsys, "header.csv", *backbone)
    assert "movies.xlsx is no table that is read; possible are .csv" in fails(capsys, "movies.xlsx", *backbone)
    twice = fails(capsys, "movies.csv", "more/movies.csv", *backbone)
    assert "movies.csv and more/movies.csv both give the task name 'movies'" in twice and "--task NAME NAME" in twice
    assert "Own data need --backbone, as out holds no tasks" in fails(capsys, "movies.csv", "tweets.csv")
    assert "other.csv: Which column is the label?" in fails(capsys, "movies.csv", "other.csv", *backbone)
    assert "--task gives 1 names, and there are 2 places" in fails(capsys, "a.csv", "b.csv", "--task", "x")
    commas = fails(capsys, "movies.csv,tweets.csv", *backbone)
    assert "'movies.csv,tweets.csv' is several places: separate them by spaces, not by commas." in commas
    assert "Give own data (movies.csv) or a stream (--stream digits)" in fails(capsys, "movies.csv", "--stream=digits")
    assert "A YAML file comes first: atlas-hf learn run.yaml" in fails(capsys, "movies.csv", "run.yaml")
    assert "--spec says what one task is, and there are 2" in fails(
        capsys, "movies.csv", "tweets.csv", "--spec", "x.yaml", *backbone
    )
    assert not (here / "out").exists()


@pytest.mark.parametrize(("load", "threads", "told"), [(0.4, 2, None), (1.9, 1, None), (1.2, 2, 1), (7.0, 4, 1)])
def test_threads_that_would_wait_for_one_another_are_told_of(monkeypatch, capsys, load, threads, told):
    monkeypatch.setattr("os.cpu_count", lambda: 2 if threads < 4 else 8)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    say_if_busy(threads)
    printed = capsys.readouterr().out
    assert printed.endswith(f"--threads {told} may be several times faster.\n") if told else printed == ""
