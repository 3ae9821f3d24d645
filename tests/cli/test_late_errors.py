"""What a new user of the command line meets late or in unclear words: said soon, in one line, with what to do."""

import csv
import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from atlas_hf.cli import main
from atlas_hf.data.own_data import own_task
from shared.hub_models import learn
from shared.tiny import text_data

RUN = ["--max_steps", "1", "--use_cpu", "True", "--disable_tqdm", "True"]


def write_texts(folder, count=60):
    folder.mkdir(exist_ok=True)
    rows = [[row["text"], ("no", "yes")[row["label"]]] for row in text_data("a", count)]
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *rows])
    return folder


def learn_command(data, backbone, output, *more):
    columns = ["--text-column", "text", "--label-column", "label"]
    return ["learn", "--data", str(data), *columns, "--backbone", str(backbone), "--output", str(output), *RUN, *more]


@pytest.fixture(scope="module")
def own(bert_folder, tmp_path_factory):
    """Data, and a folder that learned a task from them with settings of the adapters."""
    home = tmp_path_factory.mktemp("own")
    settings = ["--num_heads", "2", "--pooling", "mean", "--target_modules", "attention.output.dense", "--r", "3"]
    assert main(learn_command(write_texts(home / "texts"), bert_folder, home / "run", *settings)) == 0
    return home


def test_the_settings_of_the_adapters_hold_for_own_data(own):
    config = json.loads((own / "run/texts/adapter_config.json").read_text())
    assert [config[name] for name in ("num_heads", "pooling", "r")] == [2, "mean", 3]
    assert config["target_modules"] == ["attention.output.dense"]


@pytest.fixture
def moved(own, tmp_path):
    """The same, whose data were moved."""
    run = shutil.copytree(own / "run", tmp_path / "run")
    file, data = run / "texts.yaml", shutil.copytree(own / "texts", tmp_path / "elsewhere")
    file.write_text(file.read_text().replace(str(own / "texts"), str(tmp_path / "texts")))
    return run, data


def test_evaluate_finds_own_data_where_they_were_or_where_it_is_told(own, moved, capsys):
    assert main(["evaluate", str(own / "run")]) == 0
    score = capsys.readouterr().out
    run, data = moved
    assert main(["evaluate", str(run)]) == 2
    error = capsys.readouterr().err
    assert f"The data of task 'texts' are no longer at {run.parent / 'texts'}. --sources texts=PLACE says" in error
    assert len(error.splitlines()) == 1
    assert main(["evaluate", str(run), "--sources", f"texts={data}"]) == 0
    assert capsys.readouterr().out == score and score.startswith("texts: accuracy ")


def test_evaluate_refuses_own_data_that_have_changed(moved, capsys):
    run, data = moved
    write_texts(data, 80)
    assert main(["evaluate", str(run), "--sources", f"texts={data}"]) == 2
    assert "have changed: 72 rows to train on, where it was learned from 54. Rows that it" in capsys.readouterr().err


def test_evaluate_says_where_own_data_would_be_named(moved, capsys):
    run, _ = moved
    (run / "texts.yaml").unlink()
    assert main(["evaluate", str(run)]) == 2
    assert "The data of task 'texts' are not known here: it was not learned from a built-in" in capsys.readouterr().err


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("atlas_hf.hub.retry.FIRST_PATIENCE", 0.0)
    monkeypatch.setenv("HF_TOKEN", "hf_x")


PUSH = "drop --push_to (push_to_hub=True), and push later: atlas-hf push FOLDER me/x"
CACHE = "Check the network. A folder needs none, nor does what is in the cache already, with HF_HUB_OFFLINE=1."


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["learn", "--smoke", "--output", "out", "--push_to", "me/x"], PUSH),
        (["learn", "--data", "me/pets", "--backbone", "me/bert", "--output", "out"], CACHE),
        (["learn", "--smoke", "--output", "out", "--backbone", "me/bert"], CACHE),
        (["info", "me/x"], CACHE),
        (["evaluate", "me/x"], CACHE),
        (["predict", "me/x", "--task", "one", "--text", "a"], CACHE),
        (["push-space", "me/x", "me/space"], CACHE),
        (["push", "../pushed", "me/x"], "could not get write access to me/x: the Hub does not answer, ConnectError"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_c9_every_command_without_a_network_is_one_line(no_network, tmp_path, monkeypatch, capsys, line, text):
    learn(tmp_path / "pushed", "vqa")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(line) == 2
    error = capsys.readouterr().err
    assert text in error and "the Hub does not answer" in error and len(error.splitlines()) == 1
    assert not list((tmp_path / "here").iterdir()), "nothing was begun"


@pytest.mark.parametrize(
    ("folder", "text"),
    [("me/x", "There is no atlas.json in me/x. Is this a folder of atlas_hf?"), ("run", "has no finished task yet")],
    ids=["arguments in the wrong order", "nothing to push"],
)
def test_push_looks_at_the_folder_before_it_makes_a_repository(
    no_network, tmp_path, monkeypatch, capsys, folder, text
):
    monkeypatch.chdir(tmp_path)
    index = json.loads((learn(tmp_path / "run", "vqa") / "atlas.json").read_text())
    index["tasks"]["vqa"]["stage"] = "expansion"
    (tmp_path / "run/atlas.json").write_text(json.dumps(index))
    assert main(["push", folder, "runs/digits"]) == 2
    assert text in capsys.readouterr().err


def test_c9_the_demo_without_a_network_says_so(no_network):
    from atlas_hf.demo.places import home
    from atlas_hf.hub import HubUnavailableError

    with pytest.raises(HubUnavailableError, match="the Hub does not answer.* A folder needs none"):
        home("me/x")


@pytest.mark.slow
def test_c9_learn_with_a_hub_that_never_answers_ends_soon(tmp_path):
    """A process of its own, with its imports."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        program = f"import os, sys; os.environ |= {{'HF_ENDPOINT': 'http://127.0.0.1:{silent.getsockname()[1]}', "
        program += "'HF_TOKEN': 'hf_x'}; from atlas_hf.cli import main; import atlas_hf.training; import time; "
        program += "start = time.time(); status = main(sys.argv[1:]); print(time.time() - start); sys.exit(status)"
        line = ["learn", "--smoke", "--output", str(tmp_path / "out"), "--push_to", "me/x"]
        run = subprocess.run([sys.executable, "-c", program, *line], capture_output=True, text=True, check=False)
    assert run.returncode == 2 and PUSH in run.stderr and float(run.stdout) < 15
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "kept"), [("learn", "the same command goes on from there"), ("evaluate", "stopped"), ("push", "goes on")]
)
def test_ctrl_c_is_one_line_that_says_how_to_go_on(monkeypatch, capsys, name, kept):
    from importlib import import_module

    command = import_module(f"atlas_hf.cli.{name}")
    monkeypatch.setattr(command, "run", lambda options: signal.raise_signal(signal.SIGINT))
    line = {"learn": ["--output", "out"], "evaluate": ["run"], "push": ["run", "me/x"]}[name]
    assert main([name, *line]) == 130
    error = capsys.readouterr().err
    assert f"atlas-hf {name}: interrupted" in error and kept in error and len(error.strip().splitlines()) == 1


def test_c14_help_is_quick_and_imports_no_torch():
    program = (
        "import sys; from atlas_hf.cli import main; main(['--help']); print('torch' in sys.modules, len(sys.modules))"
    )
    start = time.monotonic()
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 3, "0.2 s on a quiet core; it was 7.4 s"
    known, modules = run.stdout.splitlines()[-1].split()
    assert known == "False" and int(modules) < 400


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["evaluate", "."], ". holds no tasks: it has no atlas.json."),
        (["predict", ".", "--task", "one", "--text", "a"], ". holds no tasks: it has no atlas.json."),
        (["info", "runs/nothing"], "There is no 'runs/nothing'; in 'runs' there are ['one']. Give one that is there."),
        (["learn", "--data", "./nowhere", "--output", "x"], "There is no './nowhere'; in '.' there are ['runs']."),
    ],
)
def test_a_path_that_is_not_there_is_no_question_for_the_hub(words, error, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert error in capsys.readouterr().err


def test_a_folder_of_data_that_is_not_there_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"There is no folder './nowhere', and it is no data set's id"):
        own_task("./nowhere", "one")
