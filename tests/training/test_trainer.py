"""What each stage of a task trains, with which settings, and what it leaves alone."""

import json
import re

import pytest
import torch
from transformers import TrainerCallback

from atlas_hf import AtlasTrainer, AtlasTrainingArguments
from atlas_hf.training.stages import digest
from shared.tiny import quick, randomize, text_data, text_spec


@pytest.fixture
def args(tmp_path):
    return quick(tmp_path / "checkpoints", learning_rate=1e-3)


@pytest.fixture
def model(bert):
    """A model that has one task learned, and a second that is about to be."""
    bert.add_task(text_spec("has-a"))
    randomize(bert, "has-a")
    bert.set_stage("has-a", "complete")
    bert.add_task(text_spec("has-b"))
    return bert


def trainer_of(model, args, **kwargs):
    return AtlasTrainer(model, args, train_dataset=text_data("b", 64), eval_dataset=text_data("b", 32, 1), **kwargs)


class Recorder(TrainerCallback):
    """Copies every tensor at the beginning and end of each stage."""

    def __init__(self):
        self.states = []

    def _copy(self, model):
        self.states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    def on_train_begin(self, args, state, control, model, **kwargs):
        self._copy(model)

    def on_train_end(self, args, state, control, model, **kwargs):
        self._copy(model)

    def moved(self, stage):
        before, after = self.states[2 * stage : 2 * stage + 2]
        return {name for name in before if not torch.equal(before[name], after[name])}


def parts(names):
    return {re.search(r"\.(atlas_\w+)\.([\w-]+)", name).groups() for name in names}


def test_each_stage_moves_exactly_what_it_trains(model, args):
    recorder = Recorder()
    trainer_of(model, args, callbacks=[recorder]).train()
    assert parts(recorder.moved(0)) == {("atlas_experience_query", "has-b"), ("atlas_head", "has-b")}
    own = {"atlas_down", "atlas_up", "atlas_key", "atlas_query", "atlas_head"}
    assert parts(recorder.moved(1)) == {(name, "has-b") for name in own}
    sites = len(model.base_model.sites)
    assert len([name for name in recorder.moved(1) if "atlas_up.has-b.weight" in name]) == sites
    assert model.peft_config["has-b"].stage == "complete"
    assert not [name for name, p in model.named_parameters() if p.requires_grad]


def test_a_first_task_has_one_stage(bert, args):
    bert.add_task(text_spec("has-b"))
    trainer = trainer_of(bert, args)
    assert trainer.stages == ["expansion"]
    trainer.train()
    assert list(trainer.stage_metrics) == ["expansion"]


def test_training_learns(bert, args):
    bert.add_task(text_spec("has-b"))
    args.num_train_epochs, args.learning_rate = 12, 5e-3
    data = text_data("b", 192)
    trainer = AtlasTrainer(bert, args, train_dataset=data, eval_dataset=data)
    before = trainer.evaluate()["eval_accuracy"]
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] > max(before, 0.75)


def test_queries_learn_at_their_own_rate_in_the_first_stage_only(model, args):
    rates = {}

    class Rates(TrainerCallback):
        def on_train_begin(self, args, state, control, model, optimizer, **kwargs):
            names = {id(p): name for name, p in model.named_parameters()}
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    name = names[id(parameter)]
                    rates[trainer.stage, re.search(r"atlas_\w+", name)[0]] = group["initial_lr"]
                    assert group["weight_decay"] == (0 if name.endswith(("bias", "norm.weight")) else 0.01)

    trainer = trainer_of(model, args, callbacks=[Rates()])
    trainer.train()
    assert rates.pop(("experience", "atlas_experience_query")) == pytest.approx(0.1)
    assert set(rates.values()) == {1e-3}
    assert ("expansion", "atlas_query") in rates and ("expansion", "atlas_experience_query") not in rates


def test_stages_have_their_own_length_and_rate(model, args):
    args.experience_num_train_epochs, args.experience_learning_rate = 1, 5e-3
    trainer = trainer_of(model, args)
    trainer.train()
    assert trainer.stage_metrics["experience"]["steps"] == 4
    assert trainer.stage_metrics["expansion"]["steps"] == 8
    assert args.for_stage("has-b", "experience").learning_rate == 5e-3
    assert args.for_stage("has-b", "expansion").learning_rate == 1e-3


def test_orthogonality_is_in_the_training_loss_only(model, args):
    args.orthogonality_weight = 0.1
    trainer = trainer_of(model, args)
    model.set_stage("has-b", "expansion")
    batch = trainer.data_collator([text_data("b", 4)[i] for i in range(4)])
    model.eval()
    plain = trainer.compute_loss(model, batch)
    model.train()
    penalty = model.base_model.orthogonality("has-b")
    torch.testing.assert_close(trainer.compute_loss(model, batch), plain + 0.1 * penalty)
    assert penalty > 0


def test_a_stray_trainable_tensor_stops_the_stage_with_its_name(model, args):
    model.get_base_model().pooler.dense.weight.requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"would train .*pooler\.dense\.weight.*must not"):
        trainer_of(model, args).train()


def test_a_frozen_tensor_that_moves_stops_the_stage_with_its_name(model, args):
    class Vandal(TrainerCallback):
        def on_train_end(self, args, state, control, model, **kwargs):
            model.get_base_model().pooler.dense.bias.data += 1

    with pytest.raises(RuntimeError, match=r"changed what it must not train: .*pooler\.dense\.bias"):
        trainer_of(model, args, callbacks=[Vandal()]).train()


def swap_elements(weight):
    weight[0, 0], weight[5, 7] = weight[5, 7].clone(), weight[0, 0].clone()


@pytest.mark.parametrize(
    "change",
    [
        lambda weight: weight.neg_(),
        lambda weight: weight.copy_(weight.flip(0)),
        lambda weight: weight.copy_(weight.roll(1, 1)),
        swap_elements,
        lambda weight: weight[-1, -1].mul_(1 + 1e-6),
        lambda weight: weight.copy_(weight.T.clone()),
    ],
)
@pytest.mark.parametrize(("size", "dtype"), [(32, torch.float32), (200, torch.float32), (200, torch.bfloat16)])
def test_a_digest_sees_every_change(size, dtype, change):
    torch.manual_seed(0)
    weight = torch.randn(size, size).to(dtype)
    before, weight[-1, -1] = weight.clone(), 1
    before[-1, -1] = 1
    assert digest(before) == digest(weight) == digest(torch.cat([before[:1], weight])[1:])
    change(weight)
    assert torch.equal(before, weight) or digest(before) != digest(weight)


def test_each_stage_ends_with_its_best_state(model, args):
    """The best epoch is not the last: the rate is so large that training diverges after the first."""
    trainer = trainer_of(model, args)
    scores = iter([0.9, 0.1, 0.8, 0.2])
    trainer.compute_metrics = lambda prediction: {"accuracy": next(scores)}
    recorder = Recorder()
    trainer.add_callback(recorder)
    trainer.train()
    assert trainer.stage_metrics["experience"]["best_accuracy"] == 0.9
    assert trainer.stage_metrics["expansion"]["best_accuracy"] == 0.8
    best = trainer.state.best_model_checkpoint
    assert best.endswith("has-b/expansion/checkpoint-4")


def test_early_stopping_counts_anew_in_each_stage(model, args):
    args.num_train_epochs, args.early_stopping_patience = 6, 1
    trainer = trainer_of(model, args)
    scores = iter([0.5, 0.4, 0.6, 0.7, 0.65])
    trainer.compute_metrics = lambda prediction: {"accuracy": next(scores)}
    trainer.train()
    assert trainer.stage_metrics["experience"]["steps"] == 2 * 4
    assert trainer.stage_metrics["expansion"]["steps"] == 3 * 4


def test_without_evaluation_data_a_stage_keeps_its_last_state(model, args):
    trainer = AtlasTrainer(model, args, train_dataset=text_data("b", 32))
    trainer.train()
    assert trainer.stage_metrics["expansion"]["steps"] == 4


def test_a_checkpoint_knows_its_task_and_stage(model, args, tmp_path):
    args.save_total_limit = None
    trainer = trainer_of(model, args)
    trainer.train()
    checkpoint = tmp_path / "checkpoints/has-b/expansion/checkpoint-4"
    assert json.loads((checkpoint / "has-b/adapter_config.json").read_text())["stage"] == "expansion"
    model.add_task(text_spec("has-c"))
    other = AtlasTrainer(model, args, train_dataset=text_data("c", 32), eval_dataset=text_data("c", 32))
    with pytest.raises(ValueError, match=r"checkpoint of \['has-b'\], not of task 'has-c'"):
        other.train(resume_from_checkpoint=str(checkpoint))


def test_the_best_state_of_another_stage_is_refused(model, args, tmp_path):
    """It would load without an error: PEFT takes the tensors that it knows."""

    class Mixed(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            config = (
                tmp_path / f"checkpoints/has-b/experience/checkpoint-{state.global_step}/has-b/adapter_config.json"
            )
            config.write_text(json.dumps(json.loads(config.read_text()) | {"stage": "expansion"}))

    with pytest.raises(ValueError, match="checkpoint of stage 'expansion'; task 'has-b' is in stage 'experience'"):
        trainer_of(model, args, callbacks=[Mixed()]).train()


def test_resuming_a_stage_gives_the_same_weights(bert_folder, args, tmp_path):
    from atlas_hf import AtlasConfig, AtlasModel

    args.save_total_limit, args.load_best_model_at_end = None, False

    def fresh(seed):
        torch.manual_seed(0)
        model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
        model.add_task(text_spec("has-a"))
        model.set_stage("has-a", "complete")
        torch.manual_seed(seed)
        model.add_task(text_spec("has-b"))
        return model

    whole, resumed = fresh(1), fresh(2)  # other queries and another head: all that counts is in the checkpoint
    trainer_of(whole, args).train()
    trainer_of(resumed, args).train(resume_from_checkpoint=str(tmp_path / "checkpoints/has-b/expansion/checkpoint-4"))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_accumulation_gives_the_same_gradient_norm(bert, args):
    """Trainer would take ViLT's **kwargs for a model that scales its loss, and sum instead of average."""
    bert.add_task(text_spec("has-b"))
    norms = []
    for size, steps in ((16, 1), (8, 2), (4, 4)):
        args.per_device_train_batch_size, args.gradient_accumulation_steps, args.max_steps = size, steps, 1
        args.logging_strategy, args.eval_strategy, args.save_strategy = "steps", "no", "no"
        args.max_grad_norm, args.logging_steps, args.load_best_model_at_end = 1e9, 1, False
        trainer = AtlasTrainer(bert, args, task="has-b", train_dataset=text_data("b", 64), relearn=True)
        state = {name: tensor.clone() for name, tensor in bert.state_dict().items()}
        trainer.train()
        bert.load_state_dict(state)
        norms.append(next(entry["grad_norm"] for entry in trainer.state.log_history))
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


def test_logs_have_the_keys_of_trainer(model, args):
    """Trackers alone see task and stage in them: see below."""
    trainer = trainer_of(model, args)
    seen = set()

    class Listen(TrainerCallback):
        def on_log(self, args, state, control, logs, **kwargs):
            seen.update((trainer.stage, name) for name in logs)

    trainer.add_callback(Listen())
    trainer.train()
    for stage in trainer.stages:
        names = ("loss", "learning_rate", "orthogonality", "eval_loss", "eval_accuracy", "epoch")
        assert {(stage, name) for name in names} <= seen
    assert not [name for _, name in seen if "/" in name]
    assert {"loss", "orthogonality"} <= set(trainer.state.log_history[0])


def test_the_stage_table_counts_parameters(model, args, capsys):
    trainer_of(model, args).train()
    text = capsys.readouterr().out
    assert "has-b: stage 1 of 2, experience-based learning, reuses has-a" in text
    rate = args.learning_rate
    assert re.search(rf"queries over the experience +4 +128 +{rate * 100:.3g}\n", text)
    head = model.count_parameters("has-b")["head"]
    assert re.search(rf"head +6 +{head:,} +{rate:.3g}\n", text)
    assert "stage 2 of 2, novel knowledge expansion" in text


def test_tensorboard_gets_the_curves(model, args, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    args.report_to = ["tensorboard"]
    trainer_of(model, args).train()
    tags = set()
    for file in (tmp_path / "logs").rglob("events*"):
        events = EventAccumulator(str(file))
        events.Reload()
        tags |= set(events.Tags()["scalars"])
    assert {"train/has-b/experience/loss", "eval/has-b/expansion/accuracy"} <= tags


def test_bf16_leaves_no_wrapper_behind(model, tmp_path):
    trainer_of(model, quick(tmp_path, bf16=True)).train()
    assert "forward" not in vars(model)
    batch = model.collator("has-b").inputs([{"text": "a b"}])
    assert model(task="has-b", **batch).logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"task": "nothing"}, "There is no task 'nothing'; there are"),
        ({"optimizers": (None, None)}, "Each stage makes its own optimizer"),
    ],
)
def test_wrong_arguments(model, args, kwargs, text):
    with pytest.raises(ValueError, match=text):
        trainer_of(model, args, **kwargs)


def test_wrong_data_is_refused_before_training(model, args):
    bad = text_data("b", 8).add_column("extra", [0] * 8).remove_columns("text")
    with pytest.raises(ValueError, match="split 'train' has no column 'text'; it has 'label', 'extra'"):
        AtlasTrainer(model, args, train_dataset=bad)
    with pytest.raises(ValueError, match="orthogonality_weight is -1"):
        AtlasTrainingArguments(output_dir="x", orthogonality_weight=-1)


def test_a_task_that_others_reuse_does_not_learn_on(model, args):
    again = AtlasTrainer(model, args, task="has-a", train_dataset=text_data("a", 32), eval_dataset=text_data("a", 32))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"Task 'has-a' cannot learn on: \['has-b'\] reuse its adapter"):
        again.train()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
