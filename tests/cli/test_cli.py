"""The command line, as a user calls it."""

import json

import pytest

from atlas_hf import AtlasModel
from atlas_hf.cli import main
from shared.tiny import picture

TINY = ["--smoke", "--train_size", "32", "--disable_tqdm", "True"]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Two tasks of the digits stream at tiny sizes, learned by the command."""
    folder = tmp_path_factory.mktemp("cli") / "out"
    assert main(["learn", "--stream", "digits", "--tasks", "vqa", "text-choice", "--output", str(folder), *TINY]) == 0
    return folder


def test_learn_prints_and_writes_the_results(learned, capsys):
    assert main(["learn", "--output", str(learned), "--tasks", "vqa", "text-choice", *TINY]) == 0
    text = capsys.readouterr().out
    assert "stage 1 of" not in text, "a finished task is not learned again"
    for line in ("Score on each task (columns) after learning each task (rows)", "forgetting          0.0000"):
        assert line in text
    results = json.loads((learned / "results.json").read_text())
    assert [task["name"] for task in results["tasks"]] == ["text-choice", "vqa"]
    assert results["description"]["train_size"] == 32
    for name in ("accuracy_matrix.png", "reuse.png"):
        assert (learned / name).stat().st_size > 5000


def test_options_from_yaml(learned, tmp_path, capsys):
    (tmp_path / "run.yaml").write_text(f"""output: {learned}
tasks: [vqa, text-choice]
smoke: true
train_size: 32
disable_tqdm: true
backbone: null
""")
    assert main(["learn", str(tmp_path / "run.yaml")]) == 0
    assert "average accuracy" in capsys.readouterr().out
    assert main(["learn", "missing.yaml"]) == 2
    assert "There is no file missing.yaml" in capsys.readouterr().err


def test_the_settings_of_the_adapters(tmp_path):
    settings = ["--r", "4", "--num_heads", "2", "--pooling", "mean", "--layers-to-transform", "0", "1"]
    sites = ["--target_modules", "output.dense", "attention.output.dense"]
    options = ["--output", str(tmp_path / "out"), "--tasks", "text-choice", "--max_steps", "1", *TINY]
    assert main(["learn", *options, *settings, *sites]) == 0
    config = json.loads((tmp_path / "out" / "text-choice" / "adapter_config.json").read_text())
    assert [config[name] for name in ("r", "num_heads", "pooling", "variant")] == [4, 2, "mean", "paper"]
    assert config["layers_to_transform"] == [0, 1]
    assert sorted(config["target_modules"]) == ["attention.output.dense", "output.dense"]


def test_evaluate_repeats_the_matrix(learned, capsys):
    assert main(["evaluate", str(learned), "--tasks", "vqa"]) == 0
    score = json.loads((learned / "results.json").read_text())["matrix"][1][1]
    assert f"vqa: soft_accuracy {score:.4f}" in capsys.readouterr().out


def test_predict_gives_ranked_answers(learned, tmp_path, capsys):
    picture(size=(32, 32)).save(tmp_path / "scene.png")
    question = "what digit is at the top left ?"
    arguments = ["--task", "vqa", "--images", str(tmp_path / "scene.png"), "--text", question, "--top-k", "3"]
    assert main(["predict", str(learned), *arguments]) == 0
    scores = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    answers = AtlasModel.from_pretrained(learned).predict("vqa", picture(size=(32, 32)), question, top_k=3)
    assert scores == pytest.approx([answer["score"] for answer in answers], abs=1e-4)


def test_info(learned, capsys):
    assert main(["info", str(learned)]) == 0
    text = capsys.readouterr().out
    assert "Backbone: atlas-hf/digits-vilt (float32" in text and "text-choice" in text
    assert main(["info", str(learned), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["index"]["tasks"]) == ["text-choice", "vqa"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["info", "nowhere/at/all"], "There is no folder 'nowhere/at/all'"),
        (["learn", "--stream", "nothing", "--output", "x"], "There is no stream 'nothing'; possible are digits"),
        (["learn", "--order", "nothing", "--output", "x"], "Order 'nothing' does not exist; possible are multi-first"),
        (["learn", "--tasks", "nothing", "--output", "x"], "There is no task 'nothing'"),
        (["nothing"], "there is no command 'nothing'"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(arguments, text, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert text in error and "Traceback" not in error


def test_errors_about_a_task(learned, capsys):
    assert main(["predict", str(learned), "--task", "nothing", "--text", "x"]) == 2
    assert "There is no task 'nothing'; there are ['text-choice', 'vqa']" in capsys.readouterr().err
    assert main(["predict", str(learned), "--task", "vqa", "--text", "x"]) == 2
    assert "Task 'vqa' takes images and texts; given were texts." in capsys.readouterr().err
