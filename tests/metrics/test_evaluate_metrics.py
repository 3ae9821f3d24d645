"""The `evaluate` metrics: instantiated, loaded by their folders, fed one by one, in batches and from two processes."""

import importlib
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import evaluate
import pytest
from huggingface_hub import RepoCard

from atlas_hf import metrics
from atlas_hf.metrics import ContinualLearning, VqaAccuracy, continual
from atlas_hf.metrics.matrix import cells, from_cells

FOLDERS = [Path(metrics.__file__).parent / name for name in ("continual_learning", "vqa_accuracy")]
MATRIX = [[0.9, 0.3], [0.8, 0.7]]
ANSWERS = {
    "predictions": ["two", "a dog", "red"],
    "references": [["2"] * 9 + ["3"], ["dog"] * 2 + ["cat"] * 8, ["blue"] * 10],
}
# The other process. It loads the metrics by their folders, with empty caches and without network.
OTHER_PROCESS = """
import json, socket, sys
import evaluate

def refuse(*args, **kwargs):
    raise AssertionError("a metric asked for the network")

socket.socket.connect = socket.getaddrinfo = refuse
printed = []
for folder, config, experiment, cache, columns in json.loads(sys.argv[1]):
    metric = evaluate.load(folder, config, cache_dir=cache)
    metric.add_batch(**columns)
    alone = metric.compute() if columns[next(iter(columns))] else None
    shared = evaluate.load(
        folder, config, num_process=2, process_id=1, experiment_id=experiment, cache_dir=cache, timeout=120
    )
    shared.add_batch(**columns)
    printed.append([type(metric).__module__, alone, shared.compute()])
print(json.dumps(printed))
"""


@pytest.fixture(scope="module", autouse=True)
def caches(tmp_path_factory):
    """Metrics keep what is added, and loaded code, in folders of this module's tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_METRICS_CACHE", "HF_MODULES_CACHE"):
            patch.setattr(evaluate.config, name, tmp_path_factory.mktemp(name.lower()))
        patch.setattr(sys, "path", list(sys.path))
        yield


def scored_examples():
    """Right, wrong and partly right answers to two tasks after each of two."""
    rng = random.Random(0)
    rows = [(rng.choice([0, 0.3, 0.6, 0.9, 1]), i, j) for i in range(2) for j in range(2) for _ in range(37)]
    rng.shuffle(rows)
    return {name: [row[k] for row in rows] for k, name in enumerate(("scores", "learned", "evaluated"))}


def test_continual_learning_of_a_matrix_and_its_baselines():
    baselines = {"random_baseline": [0.5, 0.2], "single_task": [0.9, 0.6]}
    baselines |= {"low_shot": [0.6], "bare_low_shot": [0.5], "low_shot_random_baseline": [0.25]}
    figures = ContinualLearning().compute(**cells(MATRIX), **baselines)
    assert figures == continual.summary(MATRIX, **baselines)
    assert figures["low_shot_transfer"] == pytest.approx(40) and figures["reasons"] == {}


def test_continual_learning_of_single_examples():
    examples, metric = scored_examples(), ContinualLearning()
    for score, learned, evaluated in zip(*examples.values(), strict=True):
        metric.add(scores=score, learned=learned, evaluated=evaluated)
    one_by_one = metric.compute()
    for start in range(0, 148, 50):
        metric.add_batch(**{name: values[start : start + 50] for name, values in examples.items()})
    assert one_by_one == metric.compute() == ContinualLearning(keep_in_memory=True).compute(**examples)
    assert one_by_one == continual.summary(from_cells(**examples)) and one_by_one["average_accuracy"] is not None


def test_vqa_accuracy_of_answers_and_of_soft_labels():
    # "two" as nine others, "dog" as two, "red" as none: (1 + 0.6 + 0) / 3.
    assert VqaAccuracy().compute(**ANSWERS) == {"vqa_accuracy": pytest.approx(1.6 / 3)}
    metric = VqaAccuracy("soft_labels")
    metric.add(prediction=1, reference=[0.0, 0.3])
    metric.add_batch(predictions=[0, 2], references=[[0.6, 1], [0, 0, 1]])
    assert metric.compute() == {"vqa_accuracy": pytest.approx((0.3 + 0.6 + 1) / 3)}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"scores": [1.0]}, "give scores, learned and evaluated"),
        ({"scores": [1.0], "learned": [0, 1], "evaluated": [0]}, r"number of scores \(1\) and learned \(2\)"),
        ({"scores": [1.0], "learned": [-1], "evaluated": [0]}, "Example 0 has score 1.0, learned -1 and evaluated 0"),
        ({"scores": [float("nan")], "learned": [0], "evaluated": [0]}, "scores has nan at place 0"),
        ({"scores": ["good"], "learned": [0], "evaluated": [0]}, "could not convert string to float: 'good'"),
        ({**cells(MATRIX), "random_baseline": [0.5]}, "random_baseline has 1 scores for 2 tasks"),
    ],
)
def test_bad_scores_leave_the_metric_ready(columns, message):
    metric = ContinualLearning()
    with pytest.raises(ValueError, match=message):
        metric.compute(**columns)
    assert metric.compute(**cells(MATRIX)) == continual.summary(MATRIX)


@pytest.mark.parametrize(
    ("config", "prediction", "reference", "message"),
    [
        ("answers", "yes", ["yes"] * 3, "at least 4 annotators' answers"),
        ("answers", 1, ["yes"] * 10, "don't match the expected format"),
        ("answers", "yes", "yes", "Got a string but expected a list"),
        ("answers", "yes", [0.3, 1.0], "don't match the expected format"),
        ("soft_labels", "yes", [0.3, 1.0], "invalid literal for int"),
        ("soft_labels", 2, [0.3, 1.0], r"The soft scores \[0.3, 1.0\] give answer 2 no score"),
        ("soft_labels", -1, [0.3, 1.0], "give answer -1 no score"),
        ("soft_labels", 0, [30.0, 100.0], "give answer 0 no score from 0 to 1"),
    ],
)
def test_bad_answers_leave_the_metric_ready(config, prediction, reference, message):
    metric = VqaAccuracy(config)
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=[prediction], references=[reference])
    good = (["yes"], [["yes"] * 10]) if config == "answers" else ([0], [[1.0]])
    assert metric.compute(predictions=good[0], references=good[1]) == {"vqa_accuracy": 1}


def test_no_prediction_and_no_such_configuration():
    with pytest.raises(ValueError, match="There is no prediction to score"):
        VqaAccuracy().compute(predictions=[], references=[])
    with pytest.raises(ValueError, match=r"no configuration 'raw'. Give one of \['answers', 'soft_labels'\]"):
        VqaAccuracy("raw")
    with pytest.raises(AttributeError, match="has no attribute 'Bleu'"):
        metrics.Bleu  # noqa: B018


def split(columns, counts):
    """The first `counts` examples, and the others."""
    return [{name: values[part] for name, values in columns.items()} for part in (slice(counts), slice(counts, None))]


def test_two_processes_give_what_one_gives(tmp_path):
    """This process has the classes; the other one loads the folders, with other numbers of examples, one time none."""
    examples, soft = scored_examples(), {"predictions": [1, 0, 1], "references": [[0.3, 0.9], [0.6, 1.0], [0, 0.3]]}
    plan = [
        (ContinualLearning, FOLDERS[0], None, "examples", *split(examples, 50)),
        (ContinualLearning, FOLDERS[0], None, "idle", *split(examples, 148)),
        (VqaAccuracy, FOLDERS[1], None, "words", *split(ANSWERS, 1)),
        (VqaAccuracy, FOLDERS[1], "soft_labels", "soft", *split(soft, 2)),
    ]
    theirs = [[str(folder), config, name, str(tmp_path), columns] for _, folder, config, name, _, columns in plan]
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(FOLDERS[0].parents[2]), *sys.path]),
    }
    command = [sys.executable, "-c", OTHER_PROCESS, json.dumps(theirs)]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as other:
        ours = []
        for metric, _, config, name, columns, _ in plan:
            shared = metric(
                config, num_process=2, process_id=0, experiment_id=name, cache_dir=str(tmp_path), timeout=120
            )
            shared.add_batch(**columns)
            ours.append(shared.compute())
        printed = json.loads(other.communicate()[0])
    assert other.returncode == 0
    assert ours == [
        ContinualLearning().compute(**examples),
        ContinualLearning().compute(**examples),
        VqaAccuracy().compute(**ANSWERS),
        VqaAccuracy("soft_labels").compute(**soft),
    ]
    for (metric, _, config, _, _, columns), (module, alone, shared) in zip(plan, printed, strict=True):
        assert module.startswith("evaluate_modules.metrics.") and shared is None
        assert alone == (metric(config).compute(**columns) if any(columns.values()) else None)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_is_laid_out_like_a_community_metric(folder):
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert files == {"README.md", "__init__.py", "app.py", f"{folder.name}.py", "requirements.txt"}
    card = RepoCard.load(folder / "README.md")
    pins = (Path(__file__).parents[2] / "constraints.txt").read_text()
    assert card.data.tags == ["evaluate", "metric"] and card.data.title and card.data.description
    assert (card.data.sdk, card.data.app_file) == ("gradio", "app.py") and f"gradio=={card.data.sdk_version}\n" in pins


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_readme_block_prints_what_stands_below_it(folder, capsys):
    text = (folder / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == text.count("```python") == 2
    for code, output in blocks:
        exec(compile(code, folder.name, "exec"), {"__name__": "readme"})
        assert capsys.readouterr().out == output


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_page_of_a_metric_computes_its_example_and_says_what_is_wrong(folder):
    gradio = pytest.importorskip("gradio")
    page = importlib.import_module(f"atlas_hf.metrics.{folder.name}.app").demo
    arguments, result = page.input_components[0].value, page.fn(page.input_components[0].value)
    metric = {"continual_learning": ContinualLearning, "vqa_accuracy": VqaAccuracy}[folder.name]
    assert result == metric().compute(**json.loads(arguments))
    with pytest.raises(gradio.Error, match="Expecting property name"):
        page.fn("{")
