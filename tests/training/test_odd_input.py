"""Numbers that are none, and arguments of another kind: told in a sentence, and nothing goes on with them."""

import json

import numpy as np
import pytest
from transformers import TrainingArguments

from atlas_hf import AtlasTrainer, learn_sequence
from atlas_hf.metrics.single import METRIC_FUNCTIONS
from atlas_hf.training import TaskTrainer
from shared.comparing import Unchanged
from shared.tiny import quick, splits, text_data, text_spec

NAN = float("nan")


def infinite_slope(outputs, labels, num_items_in_batch=None):
    """A loss of 0 with a gradient that is no number."""
    return (outputs.logits.sum() * 0).pow(0.5)


@pytest.fixture
def model(bert):
    bert.add_task(text_spec("has-b"))
    return bert


def trainer(model, tmp_path, *, data=None, evaluated=None, more=None, **changes):
    settings = {"max_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    data = text_data("b", 16) if data is None else data
    return AtlasTrainer(model, quick(tmp_path, **settings | changes), None, data, evaluated, **more or {})


@pytest.mark.parametrize(
    ("evaluated", "error"),
    [
        (None, r"Task 'has-b', stage 'expansion', step 1: base_model\..* is NaN or infinite\. This stage has no good"),
        (text_data("b", 8, 1), r"The answers to 8 of 8 examples \(the first is row 0\) are NaN or infinite"),
    ],
)
def test_a_last_step_to_nan_does_not_end_in_a_finished_task(model, tmp_path, evaluated, error):
    run = trainer(model, tmp_path, evaluated=evaluated, more={"compute_loss_func": infinite_slope})
    with pytest.raises(FloatingPointError, match=error):
        run.train()
    assert model.finished == []


@pytest.mark.parametrize("name", sorted(METRIC_FUNCTIONS))
def test_there_is_no_score_of_answers_that_are_no_numbers(name):
    labels = np.array([[1.0, 0.0], [0.0, 1.0]]) if name == "soft_accuracy" else np.array([0, 1])
    for odd in (NAN, np.inf, -np.inf):
        logits = np.array([[0.0], [odd]]) if name == "pearson" else np.array([[1.0, 0.0], [odd, 0.0]])
        with pytest.raises(FloatingPointError, match=r"The answers to 1 of 2 examples \(the first is row 1\)"):
            METRIC_FUNCTIONS[name](logits, labels)


@pytest.mark.parametrize(
    ("gives", "kind", "error"),
    [
        ({"x": 1.0}, ValueError, r"is 'f1', which this evaluation gave not at all, .* \['loss', 'accuracy', 'x'"),
        ({"f1": NAN}, ValueError, "is 'f1', which this evaluation gave as nan, so that no state is the best"),
        (None, TypeError, "compute_metrics gave None; give a dict of numbers by their names"),
    ],
)
def test_a_metric_that_cannot_decide(model, tmp_path, gives, kind, error):
    more = {"compute_metrics": lambda prediction: gives}
    run = trainer(model, tmp_path, evaluated=text_data("b", 8, 1), more=more, metric_for_best_model="f1")
    with pytest.raises(kind, match=error):
        run.train()


def test_a_metric_that_is_nan_and_decides_nothing(model, tmp_path):
    more = {"compute_metrics": lambda prediction: {"f1": NAN}}
    changes = {"metric_for_best_model": "f1", "load_best_model_at_end": False}
    run = trainer(model, tmp_path, evaluated=text_data("b", 8, 1), more=more, **changes)
    run.train()
    json.dumps(run.stage_metrics, allow_nan=False)  # as a checkpoint of the next stage would hold it


def test_what_goes_on_after_its_last_step_knows_its_loss(model, tmp_path):
    whole = trainer(model, tmp_path, max_steps=3, logging_strategy="steps", logging_steps=2).train()
    model.set_stage("has-b", "expansion", relearn=True)
    again = trainer(model, tmp_path, max_steps=3, logging_strategy="steps", logging_steps=2)
    output = again.train(resume_from_checkpoint=True)
    assert output.global_step == 3 and output.training_loss == pytest.approx(whole.training_loss, rel=0.5)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"learning_rate": NAN}, "learning_rate is nan; give a number that is 0 or more"),
        ({"experience_learning_rate": -1.0}, "experience_learning_rate is -1.0; give a number that is 0 or more"),
        ({"num_train_epochs": -1}, "num_train_epochs is -1; give a number"),
        ({"weight_decay": NAN}, "weight_decay is nan"),
        (
            {"per_device_train_batch_size": 0},
            "per_device_train_batch_size is 0; give a whole number that is 1 or more",
        ),
        ({"early_stopping_patience": "3"}, "early_stopping_patience is '3'; give a whole number"),
        ({"early_stopping_patience": 0}, "early_stopping_patience is 0; give a whole number"),
    ],
)
def test_numbers_that_would_fail_in_a_later_stage(changes, error):
    with pytest.raises(ValueError, match=error):
        quick(**changes)


def test_what_leaves_nothing_to_learn_or_to_evaluate(model, tmp_path):
    with pytest.raises(ValueError, match="of 16 rows in batches of 32 none is left"):
        trainer(model, tmp_path, dataloader_drop_last=True, per_device_train_batch_size=32)
    with pytest.raises(ValueError, match="eval_dataset is an empty dict; give a data set by its name"):
        trainer(model, tmp_path, evaluated={})


def test_a_task_trainer_pushes_nothing(model, tmp_path):
    with pytest.raises(ValueError, match="push_to_hub=True is refused: a TaskTrainer has nothing .* Use AtlasTrainer"):
        TaskTrainer(model, quick(tmp_path, push_to_hub=True, hub_model_id="me/x"), "has-b", text_data("b", 8))
    run = TaskTrainer(model, quick(tmp_path), "has-b", text_data("b", 8))
    with pytest.raises(ValueError, match="push_to_hub=True is refused"):
        run.push_to_hub()


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (None, "stream holds NoneType; give a list of pairs"),
        ((text_spec("one"), splits("b", 4, 4)), "stream holds TaskSpec, dict; give a list of pairs of a TaskSpec and"),
        ([text_spec("one")], "stream holds TaskSpec; give"),
        ({text_spec("one"): splits("b", 4, 4)}, "stream holds dict; give"),
        ([(text_spec("one"), text_data("b", 4))], "stream holds tuple; give"),
    ],
)
def test_what_is_no_stream(bert, tmp_path, stream, error):
    with Unchanged(bert), pytest.raises(TypeError, match=error):
        learn_sequence(bert, stream, quick(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def nested(depth):
    return {"a": nested(depth - 1)} if depth else 1


@pytest.mark.parametrize(
    ("given", "kind", "error"),
    [
        ({"reuse": "no"}, TypeError, "reuse is 'no'; give True or False"),
        ({"max_experience": 1.5}, ValueError, "max_experience is 1.5; give a whole number from 0, or None"),
        ({"max_experience": -1}, ValueError, "max_experience is -1; give a whole number"),
        ({"description": {"labels": {"a"}}}, ValueError, "description cannot be kept in results.json: .*set"),
        ({"description": {"mean": NAN}}, ValueError, "description cannot be kept in results.json"),
        ({"description": nested(500)}, ValueError, "description cannot be kept in results.json: it .*"),
        ({"description": ["a"]}, TypeError, "description is a list; give a dict"),
        ({"args": object()}, TypeError, r"args is a object; give AtlasTrainingArguments\(output_dir"),
        ({"model": object()}, TypeError, "model is a object; give an AtlasModel"),
    ],
)
def test_arguments_of_a_sequence_are_looked_at_before_it_begins(bert, tmp_path, given, kind, error):
    stream = [(text_spec("one"), splits("b", 8, 4))]
    arguments = {"model": bert, "stream": stream, "args": quick(), "output_dir": tmp_path / "out"}
    with Unchanged(bert), pytest.raises(kind, match=error):
        learn_sequence(**arguments | given)
    assert not (tmp_path / "out").exists()


def test_plain_training_arguments_learn_a_sequence(bert, tmp_path):
    args = TrainingArguments(str(tmp_path), max_steps=1, use_cpu=True, report_to=[], disable_tqdm=True)
    results = learn_sequence(bert, [(text_spec("one"), splits("b", 8, 4))], args, tmp_path / "out")
    assert [task["name"] for task in results["tasks"]] == ["one"]
