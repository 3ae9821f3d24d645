"""Arguments of Trainer and TrainingArguments that work, seen at what they do in both stages."""

import logging
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import booleans, fixed_dictionaries, sampled_from
from torch.nn.functional import cross_entropy
from transformers import EarlyStoppingCallback, TrainerCallback

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer
from shared.hub_server import loopback_hub
from shared.tiny import quick, randomize, text_data, text_spec

UNSAVED = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False}


@pytest.fixture(scope="module")
def make(bert_folder):
    """A model that has one task learned, and a second that is about to be; always the same."""

    def make():
        torch.manual_seed(0)
        model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
        model.add_task(text_spec("has-a"))
        randomize(model, "has-a")
        model.set_stage("has-a", "complete")
        model.add_task(text_spec("has-b"))
        randomize(model, "has-b")
        return model

    return make


@pytest.fixture(scope="module")
def train(make, tmp_path_factory):
    def train(train_dataset=None, eval_dataset=None, kwargs=None, **changes):
        settings = {"learning_rate": 1e-3, **changes}
        args = quick(tmp_path_factory.mktemp("checkpoints"), **settings)
        trainer = AtlasTrainer(
            make(), args, train_dataset=train_dataset or text_data("b", 32), eval_dataset=eval_dataset, **kwargs or {}
        )
        trainer.train()
        return trainer

    return train


@pytest.fixture(scope="module")
def plain(train):
    return weights(train(**UNSAVED).model)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if ".has-b." in name}


def same(left, right, **tolerance):
    if not tolerance:
        return all(torch.equal(left[name], right[name]) for name in left)
    return all(torch.allclose(left[name], right[name], **tolerance) for name in left)


def with_length(data):
    return data.add_column("length", [len(text.split()) for text in data["text"]])


def mean_loss(outputs, labels, num_items_in_batch=None):
    """That of the head, as a user would write it."""
    assert outputs.get("loss") is None
    return cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


class Listen(TrainerCallback):
    def __init__(self):
        self.logs, self.calls = [], []

    def on_log(self, args, state, control, logs, **kwargs):
        self.logs.append(dict(logs))

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.calls.append((args.output_dir.rsplit("/", 1)[-1], dict(metrics)))


def test_b4_compute_loss_func_is_the_loss_of_both_stages(train, plain):
    stages = []

    def half(outputs, labels, num_items_in_batch=None):
        stages.append(num_items_in_batch.item())
        return mean_loss(outputs, labels, num_items_in_batch) / 2

    half_loss = train(**UNSAVED, kwargs={"compute_loss_func": half})
    assert stages == [16] * 8  # two stages of two epochs of two steps
    assert half_loss.state.log_history[0]["loss"] < 0.5
    assert not same(weights(half_loss.model), plain)
    own = train(**UNSAVED, kwargs={"compute_loss_func": mean_loss})
    assert same(weights(own.model), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_b4_accumulated_batches_give_the_same_gradients(train, weight):
    """With the penalty: once for each step, however many batches it has."""
    settings = UNSAVED | {"orthogonality_weight": weight, "max_steps": 1, "optim": "sgd", "max_grad_norm": 1e9}
    norms = []
    for size, steps in ((16, 1), (4, 4)):
        trainer = train(
            **settings, logging_strategy="steps", logging_steps=1, kwargs={"compute_loss_func": mean_loss},
            per_device_train_batch_size=size, gradient_accumulation_steps=steps, query_lr_multiplier=1,
        )  # fmt: skip
        norms.append(trainer.state.log_history[0]["grad_norm"])
    assert norms == pytest.approx([norms[0]] * 2, rel=1e-4)


def test_b5_early_stopping_of_the_users_own_stops_each_stage(train):
    scores = iter([0.5, 0.4, 0.6, 0.7, 0.65])
    stopping = EarlyStoppingCallback(1)
    trainer = train(
        eval_dataset=text_data("b", 8, 1), num_train_epochs=6,
        kwargs={"callbacks": [stopping], "compute_metrics": lambda prediction: {"accuracy": next(scores)}},
    )  # fmt: skip
    assert trainer.stage_metrics["experience"]["steps"] == 2 * 2
    assert trainer.stage_metrics["expansion"]["steps"] == 3 * 2
    assert stopping in trainer.callback_handler.callbacks


@pytest.mark.parametrize(("ours", "epochs"), [(1, 2), (4, 3)])
def test_b5_it_stands_beside_early_stopping_patience(train, ours, epochs):
    """The user's waits for two evaluations."""
    scores = iter([0.9, 0.5, 0.4, 0.3, 0.2])
    trainer = train(
        eval_dataset=text_data("b", 8, 1), num_train_epochs=6, early_stopping_patience=ours, experience_max_steps=1,
        save_strategy="no", load_best_model_at_end=False, metric_for_best_model="f",
        kwargs={"callbacks": [EarlyStoppingCallback(2)], "compute_metrics": lambda prediction: {"f": next(scores)}},
    )  # fmt: skip
    assert trainer.stage_metrics["expansion"]["steps"] == epochs * 2


def test_b6_the_users_metric_decides_which_state_is_the_best(train):
    given = iter([0.1, 0.3, 0.9, 0.2])
    trainer = train(
        eval_dataset=text_data("b", 8, 1), metric_for_best_model="f1",
        kwargs={"compute_metrics": lambda prediction: {"f1": next(given)}},
    )  # fmt: skip
    assert trainer.stage_metrics["experience"]["best_f1"] == 0.3
    assert trainer.stage_metrics["expansion"]["best_f1"] == 0.9
    assert trainer.state.best_model_checkpoint.endswith("expansion/checkpoint-2")
    own = [entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry]
    assert trainer.stage_metrics["expansion"]["best_accuracy"] == own[0], "the task's own, of the state that was kept"


@pytest.mark.parametrize("name", ["loss", "eval_loss"])
def test_b6_a_loss_is_the_better_the_lower(train, name):
    trainer = train(eval_dataset=text_data("b", 8, 1), metric_for_best_model=name, learning_rate=1.0)
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.state.best_metric == min(losses) and not trainer.args.greater_is_better
    assert trainer.stage_metrics["expansion"]["best_loss"] == min(losses)


def test_b6_own_metrics_stand_beside_the_tasks_own(train):
    """Which goes on deciding."""
    trainer = train(
        eval_dataset=text_data("b", 8, 1), kwargs={"compute_metrics": lambda p: {"rows": len(p.label_ids)}}
    )
    assert "best_accuracy" in trainer.stage_metrics["expansion"]
    assert trainer.args.metric_for_best_model == "eval_accuracy" and trainer.args.greater_is_better
    assert trainer.evaluate()["eval_rows"] == 8 and "eval_accuracy" in trainer.evaluate()


def test_c5_a_dict_of_evaluation_sets(train):
    sets = {"near": text_data("b", 8, 1), "far": text_data("b", 16, 2)}
    listen = Listen()
    trainer = train(eval_dataset=sets, kwargs={"callbacks": [listen]})
    assert trainer.args.metric_for_best_model == "eval_near_accuracy"
    assert {stage for stage, _ in listen.calls} == {"experience", "expansion"}
    assert {"eval_near_accuracy", "eval_far_accuracy", "eval_far_loss"} <= set(trainer.evaluate())
    far = train(eval_dataset=sets, metric_for_best_model="eval_far_loss")
    losses = [entry["eval_far_loss"] for entry in far.state.log_history if "eval_far_loss" in entry]
    assert far.state.best_metric == min(losses)


def test_c5_resume_from_checkpoint_true_is_the_last_one(make, tmp_path):
    def trainer_of(folder, **changes):
        args = quick(
            tmp_path / folder, save_total_limit=None, eval_strategy="no", load_best_model_at_end=False, **changes
        )
        return AtlasTrainer(make(), args, train_dataset=text_data("b", 32))

    with pytest.raises(ValueError, match=r"no checkpoint of task 'has-b' in .*one that is whole and was written"):
        trainer_of("one").train(resume_from_checkpoint=True)
    whole = trainer_of("one")
    whole.train()
    newest = tmp_path / "one/has-b/expansion/checkpoint-4"
    (newest / "trainer_state.json").unlink()  # as after a kill: the one before it is whole
    again = trainer_of("one")
    again.train(resume_from_checkpoint=True)
    assert list(again.stage_metrics) == ["experience", "expansion"]
    assert same(weights(whole.model), weights(again.model))
    with pytest.raises(ValueError, match="the same settings"):
        trainer_of("one", learning_rate=0.5).train(resume_from_checkpoint=True)
    trainer_of("two").train(resume_from_checkpoint=False)


def test_c7_batches_need_not_be_joined_for_the_metric(train):
    given = []
    settings = {"eval_do_concat_batches": False, "per_device_eval_batch_size": 4, "num_train_epochs": 1}
    trainer = train(
        eval_dataset=text_data("b", 10, 1), kwargs={"compute_metrics": lambda p: given.append(p) or {}}, **settings
    )
    assert [len(batch) for batch in given[0].predictions] == [4, 4, 2]
    joined = train(eval_dataset=text_data("b", 10, 1), num_train_epochs=1)
    assert trainer.evaluate()["eval_accuracy"] == joined.evaluate()["eval_accuracy"]


def test_metrics_may_ask_for_inputs_and_losses(train):
    found = train(
        eval_dataset=text_data("b", 8, 1), include_for_metrics=["inputs", "loss"], num_train_epochs=1,
        kwargs={"compute_metrics": lambda p: {"inputs": len(p.inputs), "losses": len(p.losses)}},
    ).evaluate()  # fmt: skip
    assert found["eval_inputs"] == 8 and found["eval_losses"] == 8


@pytest.mark.parametrize(
    "change",
    [
        {"neftune_noise_alpha": 20.0},
        {"train_sampling_strategy": "sequential"},
        {"train_sampling_strategy": "group_by_length"},
        {"data_seed": 7},
        {"seed": 7},
        {"optim": "adagrad"},
        {"lr_scheduler_type": "constant"},
        {"bf16": True},
        {"max_grad_norm": 1e-3},
        {"dataloader_drop_last": True, "per_device_train_batch_size": 20},
    ],
)
def test_it_is_not_ignored(train, plain, change):
    """What is computed is other than without, and the model is afterwards without hooks and wrappers."""
    trainer = train(train_dataset=with_length(text_data("b", 32)), **UNSAVED | change)
    assert not same(weights(trainer.model), plain)
    assert not [name for name, module in trainer.model.named_modules() if module._forward_hooks]


@pytest.mark.parametrize(
    "change",
    [
        {"auto_find_batch_size": True},
        {"torch_empty_cache_steps": 1},
        {"eval_use_gather_object": True},
        {"gradient_checkpointing": True},  # the name in all supported releases
        {"save_only_model": True},
    ],
)
def test_it_changes_nothing_of_what_is_learned(train, plain, change):
    assert same(weights(train(**UNSAVED | change).model), plain, rtol=1e-4, atol=1e-6)


def test_a_batch_that_is_too_large_becomes_smaller(train):
    """The second stage begins with the size that the first found."""
    sizes = []

    class Full(TrainerCallback):
        def on_train_begin(self, args, state, control, train_dataloader, **kwargs):
            sizes.append(train_dataloader.total_batch_size)

        def on_step_begin(self, args, state, control, **kwargs):
            if sizes[-1] > 8:
                raise RuntimeError("CUDA out of memory.")

    trainer = train(auto_find_batch_size=True, kwargs={"callbacks": [Full()]}, **UNSAVED)
    assert sizes[0] == 16 and sizes[-2:] == [8, 8]
    assert [metrics["steps"] for metrics in trainer.stage_metrics.values()] == [8, 8]


def test_noise_does_not_outlive_a_training_that_failed(make, tmp_path):
    class Broken(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            raise KeyError("mine")

    args = quick(tmp_path, neftune_noise_alpha=5.0, **UNSAVED)
    trainer = AtlasTrainer(make(), args, train_dataset=text_data("b", 32), callbacks=[Broken()])
    with pytest.raises(KeyError, match="mine"):
        trainer.train()
    assert not [name for name, module in trainer.model.named_modules() if module._forward_hooks]
    assert not trainer.is_in_train


@pytest.mark.slow
def test_torch_compile(train, plain):
    trainer = train(**UNSAVED, torch_compile=True, torch_compile_backend="eager")
    assert type(trainer.model) is AtlasModel
    assert same(weights(trainer.model), plain, rtol=1e-3, atol=1e-5)


def test_the_best_states_alone_may_be_saved(train):
    scores = iter([0.5, 0.7, 0.9, 0.8])
    trainer = train(
        eval_dataset=text_data("b", 8, 1), save_strategy="best", save_total_limit=None,
        kwargs={"compute_metrics": lambda prediction: {"accuracy": next(scores)}},
    )  # fmt: skip
    assert trainer.state.best_model_checkpoint.endswith("expansion/checkpoint-2")


def test_tokens_are_counted(train):
    listen = Listen()
    train(**UNSAVED, include_num_input_tokens_seen="all", kwargs={"callbacks": [listen]})
    assert [logs for logs in listen.logs if logs.get("num_input_tokens_seen", 0) > 0]


def test_predict_gives_the_metrics_of_a_test_set(train):
    found = train(**UNSAVED).predict(text_data("b", 8, 1))
    assert found.predictions.shape == (8, 2) and "test_accuracy" in found.metrics


def test_save_model_writes_what_can_be_loaded(train, bert_folder, tmp_path):
    trainer = train(**UNSAVED)
    trainer.save_model()
    trainer.save_model(str(tmp_path / "mine"))
    for folder in (tmp_path / "mine", trainer.args.output_dir + "/model"):
        loaded = AtlasModel.from_pretrained(folder, backbone=bert_folder)
        assert loaded.tasks == ["has-a", "has-b"]
        assert same(weights(trainer.model), weights(loaded))


REPO = "user/atlas"


@pytest.fixture
def server(tmp_path):
    with loopback_hub(tmp_path / "home") as running:
        yield running


def pushing(make, folder, **changes):
    model = make()
    model.task_config.base_model_name_or_path = "user/tiny-bert"
    for config in model.peft_config.values():
        config.base_model_name_or_path = "user/tiny-bert"
    args = quick(folder, num_train_epochs=1, push_to_hub=True, hub_model_id=REPO, **changes)
    return AtlasTrainer(model, args, train_dataset=text_data("b", 32), eval_dataset=text_data("b", 8, 1))


def test_b1_a_trainer_pushes_finished_tasks_and_nothing_else(server, make, tmp_path, bert_folder):
    trainer = pushing(make, tmp_path / "out")
    assert not server.store.repos["model", REPO].tags, "made sure of before training"
    trainer.train()
    repo = server.store.repos["model", REPO]
    assert [commit.title for commit in repo.history("main")][:-1] == ["Add task 2: has-b", "Add task 1: has-a"]
    assert sorted(repo.tags) == ["task-01-has-a", "task-02-has-b"]
    files = set(repo.history("main")[0].tree) - {".gitattributes"}
    own = {"adapter_config.json", "adapter_model.safetensors", "task.json"}
    assert files == {"README.md", "atlas.json"} | {f"{task}/{file}" for task in ("has-a", "has-b") for file in own}
    assert b"library_name: peft" in server.store.read(repo.history("main")[0].tree["README.md"])
    assert b"continual-learning" in server.store.read(repo.history("main")[0].tree["README.md"])
    loaded = AtlasModel.from_pretrained(REPO, backbone=bert_folder)
    assert same(weights(trainer.model), weights(loaded))
    before = repo.history("main")[0].sha
    assert not [pushed for pushed in trainer.push_to_hub() if pushed.new]
    trainer.save_model(str(tmp_path / "mine"))
    assert repo.history("main")[0].sha == before, "nothing is pushed twice"


def test_b1_the_card_is_this_packages(train):
    trainer = train(**UNSAVED)
    trainer.create_model_card()
    card = Path(trainer.args.output_dir, "model", "README.md").read_text()
    assert "continual-learning" in card and "has-b" in card and "generated_from_trainer" not in card


def test_b1_access_is_checked_before_training(server, make, tmp_path):
    from atlas_hf import hub

    with pytest.raises(ValueError, match="push_to_hub needs hub_model_id"):
        AtlasTrainer(make(), quick(tmp_path, push_to_hub=True), train_dataset=text_data("b", 8))
    with pytest.raises(ValueError, match="Nobody else could load this model"):
        AtlasTrainer(make(), quick(tmp_path, push_to_hub=True, hub_model_id=REPO), train_dataset=text_data("b", 8))
    with pytest.raises(hub.AccessError):
        pushing(make, tmp_path, hub_token="hf_read")


def test_b1_a_push_that_fails_after_training_loses_nothing(server, make, tmp_path, bert_folder, monkeypatch, caplog):
    from atlas_hf import hub

    trainer = pushing(make, tmp_path / "out")

    def fail(*args, **kwargs):
        raise hub.HubUnavailableError("the Hub is away.")

    monkeypatch.setattr(type(trainer.model), "push_to_hub", fail)
    with caplog.at_level(logging.WARNING, "atlas_hf"):
        trainer.train()
    folder = tmp_path / "out/model"
    assert (
        f"Task 'has-b' is learned and saved in {folder}, but was not pushed to {REPO}: the Hub is away." in caplog.text
    )
    assert trainer.model.peft_config["has-b"].stage == "complete"
    assert same(weights(trainer.model), weights(AtlasModel.from_pretrained(folder, backbone=bert_folder)))
    monkeypatch.undo()


SOME = {
    "optim": ["sgd", "adafactor", "lomo", "lion_32bit"],
    "lr_scheduler_type": ["cosine", "greedy", "reduce_lr_on_plateau"],
    "eval_strategy": ["no", "steps"],
    "save_strategy": ["no", "steps", "best"],
    "load_best_model_at_end": [False],
    "metric_for_best_model": ["loss", "eval_accuracy", "f1"],
    "early_stopping_patience": [1],
    "train_sampling_strategy": ["group_by_length", "sequential"],
    "eval_do_concat_batches": [False],
    "include_for_metrics": [["inputs"]],
    "include_num_input_tokens_seen": ["non_padding"],
    "label_smoothing_factor": [0.1],
    "remove_unused_columns": [True],
    "bf16": [True],
    "neftune_noise_alpha": [1.0],
    "gradient_accumulation_steps": [2],
    "save_only_model": [True],
    "eval_on_start": [True],
    "logging_strategy": ["steps"],
    "hub_strategy": ["checkpoint", "end"],
}


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    changes=fixed_dictionaries({}, optional={name: sampled_from(values) for name, values in SOME.items()}),
    evaluated=booleans(),
)
def test_any_arguments_work_or_are_refused_before_anything_moves(make, tmp_path_factory, changes, evaluated):
    model = make()
    before, held = weights(model), text_data("b", 4, 1) if evaluated else None
    refusal = ""
    try:
        args = quick(tmp_path_factory.mktemp("any"), max_steps=1, warmup_steps=0, **changes)
        trainer = AtlasTrainer(model, args, train_dataset=text_data("b", 8), eval_dataset=held)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert len(refusal) > 20 and same(weights(model), before)
    else:
        trainer.train()
        assert not same(weights(model), before) and model.peft_config["has-b"].stage == "complete"
