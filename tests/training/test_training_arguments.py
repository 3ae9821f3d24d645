"""Each argument of Trainer and TrainingArguments has a row in the docs, and what the row says is so."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
from datasets import Dataset, IterableDataset
from transformers import EarlyStoppingCallback, Seq2SeqTrainingArguments, Trainer, TrainingArguments

from atlas_hf import AtlasTrainer, AtlasTrainingArguments
from atlas_hf.training import refused
from atlas_hf.training.publishing import PublishingTrainer
from shared.tiny import quick, text_data, text_spec

PAGE = Path(__file__).parents[2] / "docs" / "training-arguments.md"
REFUSED = {
    "label_smoothing_factor": 0.1,
    "optim_target_modules": "all-linear",
    "liger_kernel_config": {"rope": True},
    "hub_revision": "main",
    "parallelism_config": object(),
    "debug": "underflow_overflow",
}


def rows(title):
    """Name to the row's second cell, of one table of the page."""
    part = PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    found = [line.split("|")[1:3] for line in part.splitlines() if line.startswith("| `")]
    names = [(name, kind.strip()) for cell, kind in found for name in re.findall(r"`(\w+)`", cell)]
    assert len(names) == len(dict(names)), "a name has two rows"
    assert {kind for _, kind in names} <= {"works", "per stage", "refused"}
    return dict(names)


def refusals(title):
    return {name for name, kind in rows(title).items() if kind == "refused"}


def test_every_field_of_training_arguments_has_a_row():
    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert not (missing := fields - set(rows("TrainingArguments"))), f"decide what becomes of {missing}"


def test_every_parameter_of_trainer_has_a_row():
    parameters = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    assert not (missing := parameters ^ set(rows("Trainer"))), f"decide what becomes of {missing}"


def test_every_public_method_of_trainer_has_a_row():
    methods = {name for name in vars(Trainer) if not name.startswith("_")}
    assert not (missing := methods ^ set(rows("Its methods"))), f"decide what becomes of {missing}"
    train = set(inspect.signature(Trainer.train).parameters)
    assert train <= set(inspect.signature(AtlasTrainer.train).parameters)
    push = set(inspect.signature(Trainer.push_to_hub).parameters)
    assert push == set(inspect.signature(PublishingTrainer.push_to_hub).parameters)


def test_the_page_and_the_code_refuse_the_same():
    processes = {"fsdp", "fsdp_config", "deepspeed"}
    assert refusals("TrainingArguments") == set(refused.ARGUMENTS) | processes | {"label_names"}
    assert refusals("Trainer") == set(refused.PARAMETERS)
    assert refusals("Its methods") == set(refused.METHODS)


@pytest.mark.parametrize("name", sorted(refused.ARGUMENTS))
def test_a_refused_field_is_refused_by_name_with_the_reason(name):
    reason = re.escape(refused.ARGUMENTS[name].rstrip("."))
    value = REFUSED.get(name, True)
    with pytest.raises(ValueError, match=rf"^{name}=.* is refused: {reason}\.$"):
        quick(**{name: value})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"hub_strategy": "checkpoint"}, "hub_strategy='checkpoint' is refused: checkpoints are not pushed"),
        ({"hub_strategy": "all_checkpoints"}, "hub_strategy='all_checkpoints' is refused"),
        ({"optim": "galore_adamw"}, "optim='galore_adamw' is refused: it takes the whole model's parameters"),
        ({"optim": "apollo_adamw_layerwise"}, "optim='apollo_adamw_layerwise' is refused"),
        ({"optim": "adalomo"}, "optim='adalomo' is refused"),
        ({"label_names": ["label"]}, r"label_names=\['label'\] is refused: the collator calls them 'labels'"),
        ({"fp16": True}, "fp16=True is refused: a CPU would not compute in it.*Use bf16"),
        ({"fsdp": "full_shard"}, "FSDP was asked for"),
        ({"fsdp_config": {"version": 2}}, "FSDP was asked for"),
        ({"report_to": "paper"}, "report_to names 'paper', which is no tracker; possible are .*wandb.*, and none"),
        ({"load_best_model_at_end": True, "save_strategy": "no"}, "requires the save and eval strategy to match"),
    ],
)
def test_refused_values(given, text):
    with pytest.raises(ValueError, match=text):
        quick(**given)


def test_a_field_that_was_set_later_is_refused_by_the_trainer(bert):
    bert.add_task(text_spec("has-b"))
    args = quick()
    args.label_smoothing_factor = 0.1
    with pytest.raises(ValueError, match=r"label_smoothing_factor=0\.1 is refused"):
        AtlasTrainer(bert, args, train_dataset=text_data("b", 8))


@pytest.mark.parametrize("name", sorted(refused.PARAMETERS))
def test_a_refused_parameter_is_refused_by_name_with_the_reason(bert, name):
    bert.add_task(text_spec("has-b"))
    with pytest.raises(ValueError, match=rf"^{name}=.* is refused: {re.escape(refused.PARAMETERS[name].rstrip('.'))}"):
        AtlasTrainer(bert, quick(), train_dataset=text_data("b", 8), **{name: lambda: None})


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda trainer: trainer.hyperparameter_search(n_trials=2),
            "hyperparameter_search=.* is refused: trials",
        ),
        (lambda trainer: trainer.call_model_init(), "call_model_init=.* is refused"),
        (lambda trainer: trainer.train(trial={"seed": 1}), "trial=.* is refused"),
        (lambda trainer: trainer.push_to_hub("my message"), "commit_message='my message' is refused: every task is"),
        (lambda trainer: trainer.push_to_hub(blocking=False), "blocking=False is refused"),
        (lambda trainer: trainer.push_to_hub(revision="dev"), "revision='dev' is refused"),
        (lambda trainer: trainer.push_to_hub(tags="x"), "tags='x' is refused"),
        (lambda trainer: trainer.push_to_hub(), "push_to_hub needs hub_model_id"),
        (lambda trainer: trainer.create_model_card(license="mit"), "license='mit' is refused"),
    ],
)
def test_refused_calls(bert, tmp_path, call, text):
    bert.add_task(text_spec("has-b"))
    trainer = AtlasTrainer(bert, quick(tmp_path), train_dataset=text_data("b", 8))
    with pytest.raises(ValueError, match=text):
        call(trainer)
    assert bert.peft_config["has-b"].stage == "expansion"


@pytest.mark.parametrize(
    ("kwargs", "changes", "text"),
    [
        ({"callbacks": [EarlyStoppingCallback(1)]}, {}, "early stopping goes by evaluations; pass eval_dataset"),
        ({}, {"early_stopping_patience": 1}, "early stopping goes by evaluations"),
        ({}, {"lr_scheduler_type": "greedy"}, "lr_scheduler_type goes by evaluations"),
        (
            {},
            {"metric_for_best_model": "f1"},
            r"is 'f1'; evaluation gives \['accuracy', 'loss'\]",
        ),
        (
            {},
            {"train_sampling_strategy": "group_by_length"},
            "needs the lengths of .* add a column 'length'",
        ),
        ({}, {"optim": "schedule_free_adamw"}, "optim='schedule_free_adamw': You need to install"),
    ],
)
def test_what_could_only_fail_in_training_is_refused_before(bert, kwargs, changes, text):
    bert.add_task(text_spec("has-b"))
    with pytest.raises(ValueError, match=text):
        AtlasTrainer(bert, quick(**changes), train_dataset=text_data("b", 8), **kwargs)


def test_c5_an_iterable_dataset_is_refused_by_name(bert):
    bert.add_task(text_spec("has-b"))
    data = text_data("b", 8)
    with pytest.raises(ValueError, match=r"split 'train' is a IterableDataset; give a datasets\.Dataset: all rows"):
        AtlasTrainer(bert, quick(), train_dataset=data.to_iterable_dataset())
    with pytest.raises(ValueError, match="split 'train' is a list; give"):
        AtlasTrainer(bert, quick(), train_dataset=data.to_list())
    streamed = {"other": IterableDataset.from_generator(lambda: iter(data))}
    with pytest.raises(ValueError, match="split 'validation other' is a IterableDataset"):
        AtlasTrainer(bert, quick(), train_dataset=data, eval_dataset=streamed)
    assert isinstance(data, Dataset)


def test_c5_plain_training_arguments_are_taken_with_their_values(bert, tmp_path, monkeypatch):
    monkeypatch.setattr("atlas_hf.training.deciding.MANY", 96)  # examples of which a task alone gets an adapter
    bert.add_task(text_spec("has-b"))
    given = {"learning_rate": 3e-3, "max_steps": 3, "seed": 7, "use_cpu": True, "save_strategy": "no", "report_to": []}
    args = TrainingArguments(str(tmp_path), **given)
    trainer = AtlasTrainer(bert, args, train_dataset=text_data("b", 96))
    assert isinstance(trainer.args, AtlasTrainingArguments)
    assert {name: getattr(trainer.args, name) for name in given} == given
    assert trainer.args.adam_beta2 == args.adam_beta2 == 0.999
    assert trainer.args.query_lr_multiplier == 100 and not trainer.args.remove_unused_columns
    trainer.train()
    assert trainer.stage_metrics["expansion"]["steps"] == 3


def test_c5_other_arguments_are_refused(bert):
    bert.add_task(text_spec("has-b"))
    for args in (Seq2SeqTrainingArguments("unused", use_cpu=True), None):
        with pytest.raises(TypeError, match=r"args is a \w+; give AtlasTrainingArguments\(output_dir, \.\.\.\)"):
            AtlasTrainer(bert, args, train_dataset=text_data("b", 16))


def test_c8_a_tracker_that_is_not_installed_is_refused_in_one_line(monkeypatch, capsys, tmp_path):
    from transformers.integrations import integration_utils

    from atlas_hf.cli import main

    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: False)
    with pytest.raises(ValueError, match=r"report_to names 'wandb': WandbCallback requires wandb to be installed"):
        quick(report_to="wandb")
    words = ["learn", "--smoke", "--output", str(tmp_path / "out"), "--report_to", "wandb"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("atlas-hf learn: report_to names 'wandb': ")
    assert not (tmp_path / "out").exists()


def test_the_command_line_refuses_in_one_line(capsys, tmp_path):
    from atlas_hf.cli import main

    assert main(["learn", "--smoke", "--output", str(tmp_path / "out"), "--label_smoothing_factor", "0.1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("atlas-hf learn: label_smoothing_factor=0.1 is refused: ")
    assert not (tmp_path / "out").exists()
