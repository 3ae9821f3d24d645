"""Few examples: no validation split is needed, what there is is told, and what a score is worth is said plainly."""

import json
from contextlib import nullcontext

import pytest

from atlas_hf import AtlasConfig, AtlasModel, learn_sequence
from atlas_hf.folder import Results, TaskResult
from atlas_hf.report.text import format_results, format_score
from shared.tiny import CHOICE, NUMBER, quick, splits, text_data, text_spec


def without_validation(letter, train=64, test=32):
    data = splits(letter, train, test)
    return {"train": data["train"], "test": data["test"]}


@pytest.fixture
def fresh(bert_folder):
    return AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))


@pytest.mark.parametrize("recipe", ["paper", "evidence"])
def test_the_last_state_counts_without_validation(fresh, tmp_path, capsys, recipe):
    stream = [(text_spec("has-a"), without_validation("a", 160)), (text_spec("has-b"), without_validation("b", 160))]
    results = learn_sequence(fresh, stream, quick(recipe=recipe), tmp_path)
    told = capsys.readouterr().out
    assert "has-b: 160 train, 0 validation, 32 test, 2 classes\n" in told and "eval_accuracy" not in told
    assert results["tasks"][0]["stages"]["expansion"]["steps"] == 20
    assert not [name for name in results["tasks"][0]["stages"]["expansion"] if name.startswith("best_")]
    assert AtlasModel.from_pretrained(tmp_path).tasks == ["has-a", "has-b"]


def test_of_very_few_only_the_head_is_learned_and_that_is_told(fresh, tmp_path, capsys):
    stream = [(text_spec("has-a"), {**without_validation("a", 40), "validation": None})]
    results = learn_sequence(fresh, stream, quick(recipe="evidence"), tmp_path, settings="auto")
    told = capsys.readouterr().out
    assert "has-a: fewer than 48 examples and no validation data: only its head is learned" in told
    assert results["tasks"][0]["stages"] == {} and "chosen for" not in told


@pytest.mark.parametrize(
    "changes", [{"early_stopping_patience": 2}, {"lr_scheduler_type": "reduce_lr_on_plateau"}, {"eval_on_start": True}]
)
def test_what_goes_by_evaluations_is_refused_before_anything_is_learned(fresh, tmp_path, changes):
    stream = [(text_spec("has-a"), splits("a")), (text_spec("has-b"), without_validation("b"))]
    with pytest.raises(ValueError, match=rf"'has-b': {next(iter(changes))}=.* there is no split 'validation'"):
        learn_sequence(fresh, stream, quick(**changes), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_score_is_told_with_its_error_and_the_majority_of_the_test_rows(fresh, tmp_path, capsys):
    data = without_validation("a", 48, 48)
    learn_sequence(fresh, [(text_spec("has-a", random_baseline=0.1), data)], quick(learning_rate=0.0), tmp_path)
    task = Results.load(tmp_path).tasks[0]
    labels = data["test"]["label"]
    majority = max(sum(labels), 48 - sum(labels)) / 48
    assert (task.test_examples, task.chance) == (48, pytest.approx(majority)) and task.chance > 0.5
    assert task.standard_error == pytest.approx((task.score * (1 - task.score) / 47) ** 0.5)
    told, printed = capsys.readouterr().out, format_results(Results.load(tmp_path))
    line = f"has-a: accuracy {task.score:.3f} ± {task.standard_error:.3f} on 48 test examples; one answer for all"
    assert line in told
    for text in (told, printed):
        assert "has-a: it answers 'no' to every test example" in text or "has-a: that is not above chance" in text
        assert "Try more examples, more steps (max_steps)" in text


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, 1),
        ({"score": 0.62}, 2),  # above chance, by less than its error
        ({"score": 0.5}, 2),
        ({"only_answer": "yes"}, 2),
        ({"chance": None, "standard_error": None}, 1),  # of an older version
        ({"score": None}, 1),
    ],
)
def test_what_is_no_better_than_chance_is_said(changes, lines):
    values = {"score": 0.7, "standard_error": 0.03, "chance": 0.6, "test_examples": 300}
    assert len(format_score(TaskResult("one", **values | changes))) == lines


@pytest.mark.parametrize("changes", [CHOICE | {"random_baseline": 0.3}, NUMBER])
def test_other_kinds_of_tasks_are_measured_too(fresh, tmp_path, changes):
    texts = text_data("a", 48)
    columns = {"label": [i % 3 for i in range(48)], "choices": [["a b", "c", "d"]] * 48}
    if changes is NUMBER:
        columns = {"label": [float(text.count("a")) + i / 100 for i, text in enumerate(texts["text"])]}
    rows = texts.remove_columns("label").from_dict({"text": texts["text"], **columns})
    learn_sequence(fresh, [(text_spec("one", **changes), {"train": rows, "test": rows})], quick(), tmp_path)
    task = Results.load(tmp_path).tasks[0]
    assert task.standard_error > 0 and task.chance == pytest.approx(0.0 if changes is NUMBER else 1 / 3)


def test_a_changed_model_has_no_old_error():
    results = Results([TaskResult("one", score=0.7, standard_error=0.1, only_answer="a")], [[0.7]])
    task = results.rescore("one", 0.6)
    assert (task.score, task.standard_error, task.only_answer) == (0.6, None, None)


@pytest.mark.parametrize(("then", "goes_on"), [(58, True), (52, True), (51, False), (40, False)])
def test_an_older_folder_that_held_a_tenth_out_goes_on(fresh, tmp_path, bert_folder, then, goes_on):
    """Of 64 examples, 6 for the test and 6 for validation, which are now learned from; and other data are no such."""
    stream = [(text_spec("has-a"), without_validation("a", 58, 6))]
    learn_sequence(fresh, stream, quick(max_steps=1), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    results["tasks"][0]["train_examples"] = then
    (tmp_path / "results.json").write_text(json.dumps(results))
    again = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    with nullcontext() if goes_on else pytest.raises(ValueError, match="learned from other data"):
        learn_sequence(again, stream, quick(max_steps=1), tmp_path)
