"""Mixed precision, half-precision backbones, and losses that are not finite: what is kept is what was trained."""

import pytest
import torch
from conftest import randomize, splits, text_data, text_spec
from transformers import TrainerCallback

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, AtlasTrainingArguments, learn_sequence

STREAM = [(text_spec(f"has-{letter}"), splits(letter)) for letter in "ab"]


@pytest.fixture
def args(tmp_path):
    return AtlasTrainingArguments(
        output_dir=str(tmp_path / "checkpoints"),
        num_train_epochs=2,
        per_device_train_batch_size=16,
        learning_rate=5e-3,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )


def logits(model, task):
    batch = model.collator(task).inputs([{"text": "a b c"}, {"text": "d"}])
    with torch.no_grad():
        return model.eval()(task=task, **batch).logits


@pytest.mark.parametrize(
    ("dtype", "bf16"), [(torch.float32, True), (torch.bfloat16, False), (torch.bfloat16, True), (torch.float16, False)]
)
def test_the_model_in_memory_is_the_one_on_disk(bert_folder, args, tmp_path, dtype, bf16):
    args.bf16 = bf16
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4), dtype=dtype)
    learn_sequence(model, STREAM, args, tmp_path / "run")
    assert "forward" not in vars(model), "no wrapper of mixed precision is left behind"
    loaded = AtlasModel.from_pretrained(tmp_path / "run")
    assert loaded.base_dtype == model.base_dtype == str(dtype).removeprefix("torch.")
    for task in model.tasks:
        assert logits(model, task).isfinite().all()
        assert torch.equal(logits(model, task), logits(loaded, task))


def test_an_evaluation_leaves_nothing_on_the_model(bert, args):
    bert.add_task(text_spec("has-b"))
    randomize(bert, "has-b")
    before = logits(bert, "has-b")
    args.bf16 = True
    trainer = AtlasTrainer(bert, args, "has-b", eval_dataset=text_data("b", 32))
    losses = [trainer.evaluate()["eval_loss"] for _ in range(2)]
    assert losses[0] == losses[1], "the second is in mixed precision, too"
    assert torch.equal(logits(bert, "has-b"), before)
    assert not {"forward", "_is_accelerate_prepared", "_original_forward"} & set(vars(bert))


class Poison(TrainerCallback):
    """Makes the head's output infinite or NaN before a step."""

    def __init__(self, step, value):
        self.step, self.value = step, value

    def on_step_begin(self, args, state, control, model, **kwargs):
        if state.global_step == self.step and ("expansion" in args.output_dir):
            model.base_model.atlas_head["has-b"].out.bias.data[0] = self.value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_stage(bert, args, tmp_path, value):
    bert.add_task(text_spec("has-a"))
    bert.set_stage("has-a", "complete")
    bert.add_task(text_spec("has-b"))
    data = {"train_dataset": text_data("b", 64), "eval_dataset": text_data("b", 32)}
    with pytest.raises(FloatingPointError, match="'has-b', stage 'expansion', step 2: the loss is .*no checkpoint of"):
        AtlasTrainer(bert, args, **data, callbacks=[Poison(1, value)]).train()
    trainer = AtlasTrainer(bert, args, **data, callbacks=[Poison(4, value)])
    trainer._enter("expansion")
    with torch.no_grad():
        bert.base_model.atlas_head["has-b"].out.bias.zero_()
    good = tmp_path / "checkpoints/has-b/expansion/checkpoint-4"
    with pytest.raises(FloatingPointError, match=f"step 5: .*The last good checkpoint of this stage is {good}"):
        trainer.train()


def test_a_sequence_that_diverges_says_what_is_kept(bert_folder, args, tmp_path, monkeypatch):
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    step = AtlasTrainer.training_step

    def diverge(self, *arguments, **kwargs):
        if self.task == "has-b":
            with torch.no_grad():
                self.model.base_model.atlas_head["has-b"].out.bias.fill_(torch.nan)
        return step(self, *arguments, **kwargs)

    monkeypatch.setattr(AtlasTrainer, "training_step", diverge)
    text = r"Task 'has-b', stage 'experience', step 1: .*The finished tasks \['has-a'\] are in .*run and can be loaded"
    with pytest.raises(FloatingPointError, match=text):
        learn_sequence(model, STREAM, args, tmp_path / "run")
    assert AtlasModel.from_pretrained(tmp_path / "run").tasks == ["has-a"]
