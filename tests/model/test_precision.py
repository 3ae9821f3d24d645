"""Half precision leaves nothing behind in the model, and a loss that is no number is no result."""

import json
import re

import pytest
import torch
from transformers import TrainerCallback

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, learn_sequence
from atlas_hf.training.checkpoints import last_good_checkpoint
from shared.tiny import quick, randomize, splits, text_data, text_spec

STREAM = [(text_spec(f"has-{letter}"), splits(letter, train=32)) for letter in "ab"]


@pytest.fixture
def args(tmp_path):
    return quick(tmp_path / "checkpoints", learning_rate=5e-3)


def logits(model, task):
    with torch.no_grad():
        return model(task=task, **model.collator(task).inputs([{"text": "a b c"}, {"text": "d"}])).logits


@pytest.mark.parametrize(
    ("bf16", "dtype"), [(True, torch.float32), (False, torch.bfloat16), (False, torch.float16), (True, torch.bfloat16)]
)
def test_the_reloaded_model_answers_as_the_trained_one(bert_folder, args, tmp_path, bf16, dtype):
    args.bf16, args.num_train_epochs = bf16, 1
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4), dtype=dtype)
    for spec, data in STREAM:
        model.add_task(spec)
        AtlasTrainer(model, args, train_dataset=data["train"], eval_dataset=data["validation"]).train()
    model.save_pretrained(tmp_path / "out")
    loaded = AtlasModel.from_pretrained(tmp_path / "out")
    assert next(loaded.get_base_model().parameters()).dtype == dtype
    model.eval()
    for task in ("has-a", "has-b"):
        trained = logits(model, task)
        assert trained.isfinite().all() and torch.equal(logits(loaded, task), trained)
    assert {p.dtype for name, p in model.named_parameters() if ".atlas_" in name} == {torch.float32}


class Spoil(TrainerCallback):
    """Makes a weight of the head NaN before a step of a stage."""

    def __init__(self, trainer, stage, step):
        self.trainer, self.stage, self.step = trainer, stage, step

    def on_step_begin(self, args, state, control, model, **kwargs):
        if (self.trainer.stage, state.global_step + 1) == (self.stage, self.step):
            next(p for name, p in model.named_parameters() if f".atlas_head.{self.trainer.task}." in name).data[:] = (
                float("nan")
            )


@pytest.fixture
def trainer(bert, args):
    bert.add_task(text_spec("has-a"))
    bert.set_stage("has-a", "complete")
    bert.add_task(text_spec("has-b"))
    return AtlasTrainer(bert, args, train_dataset=text_data("b", 64), eval_dataset=text_data("b", 16, 1))


def test_nan_stops_the_stage_and_names_the_last_good_checkpoint(trainer, tmp_path):
    trainer.add_callback(Spoil(trainer, "expansion", 6))
    good = tmp_path / "checkpoints/has-b/expansion/checkpoint-4"
    text = f"Task 'has-b', stage 'expansion', step 6: the loss is nan. The last good checkpoint is {good}."
    with pytest.raises(FloatingPointError, match=re.escape(text)):
        trainer.train()
    assert trainer.state.global_step == 5


def test_nan_without_a_checkpoint(trainer):
    trainer.add_callback(Spoil(trainer, "experience", 1))
    text = "Task 'has-b', stage 'experience', step 1: the loss is nan. This stage has no good checkpoint yet."
    with pytest.raises(FloatingPointError, match=re.escape(text)):
        trainer.train()


def test_a_checkpoint_with_nan_or_half_a_file_is_not_good(trainer, tmp_path):
    trainer.args.save_total_limit = None
    trainer.train()
    folder = tmp_path / "checkpoints/has-b/expansion"
    assert last_good_checkpoint(folder, "has-b") == folder / "checkpoint-8"
    (folder / "checkpoint-8/has-b/adapter_model.safetensors").write_bytes(b"\x10")
    assert last_good_checkpoint(folder, "has-b") == folder / "checkpoint-4"
    next(p for n, p in trainer.model.named_parameters() if ".atlas_head.has-b." in n).data[:] = float("nan")
    trainer.model.save_adapter("has-b", folder / "checkpoint-12")
    assert last_good_checkpoint(folder, "has-b") == folder / "checkpoint-4"
    assert last_good_checkpoint(tmp_path / "nowhere", "has-b") is None


def test_a_sequence_that_diverges_keeps_the_finished_tasks(bert_folder, args, tmp_path):
    first, model = (AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4)) for _ in range(2))
    learn_sequence(first, STREAM[:1], args, tmp_path / "out")
    spec, data = text_spec("has-b", problem_type="regression", label_names=None), STREAM[1][1]
    endless = {n: split.remove_columns("label").add_column("label", [3e38] * len(split)) for n, split in data.items()}
    text = f"The finished tasks ['has-a'] are in {tmp_path / 'out'}"
    with pytest.raises(FloatingPointError, match=r"stage 'experience', step 1: the loss is inf.*" + re.escape(text)):
        learn_sequence(model, [STREAM[0], (spec, endless)], args, tmp_path / "out")
    assert list(json.loads((tmp_path / "out/atlas.json").read_text())["tasks"]) == ["has-a"]
    assert AtlasModel.from_pretrained(tmp_path / "out").tasks == ["has-a"]


def test_an_evaluation_leaves_nothing_on_the_model(bert, args):
    bert.add_task(text_spec("has-b"))
    randomize(bert, "has-b")
    before = logits(bert.eval(), "has-b")
    args.bf16 = True
    trainer = AtlasTrainer(bert, args, "has-b", eval_dataset=text_data("b", 32))
    losses = [trainer.evaluate()["eval_loss"] for _ in range(2)]
    assert losses[0] == losses[1], "the second is in mixed precision, too"
    assert torch.equal(logits(bert.eval(), "has-b"), before)
    assert not {"forward", "_is_accelerate_prepared", "_original_forward"} & set(vars(bert))
