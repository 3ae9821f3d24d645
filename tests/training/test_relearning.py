"""A finished task is not trained again by accident, and not at all once another task reuses it."""

import pytest
import torch
from transformers import TrainerCallback

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer
from shared.comparing import Unchanged, tensor_digests
from shared.tiny import learned, quick, text_data, text_spec

DATA = text_data("b", 32)
KEEP = {"save_total_limit": None}


class Steps(TrainerCallback):
    """Counts them."""

    def __init__(self):
        self.count = 0

    def on_step_begin(self, *args, **kwargs):
        self.count += 1


def trainer_of(model, task, folder, **kwargs):
    args = quick(folder, max_steps=2, save_strategy="steps", save_steps=1, load_best_model_at_end=False, **KEEP)
    return AtlasTrainer(model, args, task, train_dataset=DATA, callbacks=[steps := Steps()], **kwargs), steps


@pytest.mark.parametrize("relearn", [False, True])
def test_a5_a_reused_task_is_refused_before_its_first_stage(bert_folder, tmp_path, relearn):
    model = learned(bert_folder)
    trainer, steps = trainer_of(model, "two", tmp_path, relearn=relearn)
    with Unchanged(model, tmp_path), pytest.raises(ValueError, match=r"'two' cannot learn on: \['three'\] reuse its"):
        trainer.train()
    assert steps.count == 0


def test_a5_a_finished_task_is_refused_and_goes_on_when_asked(bert_folder, tmp_path):
    model = learned(bert_folder)
    trainer, steps = trainer_of(model, "three", tmp_path)
    with Unchanged(model, tmp_path), pytest.raises(ValueError, match="'three' is finished, and stays as it is. To le"):
        trainer.train()
    assert steps.count == 0 and 0 <= trainer.evaluate(DATA)["eval_accuracy"] <= 1
    starts, before = {}, tensor_digests(model)

    class Start(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            starts.setdefault("first", tensor_digests(model))

    again, steps = trainer_of(model, "three", tmp_path, relearn=True)
    again.add_callback(Start())
    again.train()
    assert steps.count == 4 and model.peft_config["three"].stage == "complete"
    assert starts["first"] == before, "it starts from its present state: no screening"
    moved = {name for name, digest in tensor_digests(model).items() if digest != before[name]}
    assert moved and all(".three" in name for name in moved)
    with pytest.raises(ValueError, match="'three' is finished"):  # by a trainer that has finished it just now
        trainer_of(model, "three", tmp_path)[0].train()


def test_a5_a_checkpoint_does_not_take_a_finished_task_back(bert_folder, tmp_path):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    model.add_task(text_spec("one"))
    trainer, _ = trainer_of(model, "one", tmp_path)
    trainer.train()
    checkpoint = str(tmp_path / "one/expansion/checkpoint-1")
    with Unchanged(model), pytest.raises(ValueError, match="'one' is finished"):
        trainer.train(resume_from_checkpoint=checkpoint)
    other = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    other.add_task(text_spec("one"))  # interrupted: going on is no relearning
    trainer_of(other, "one", tmp_path)[0].train(resume_from_checkpoint=checkpoint)
    assert other.peft_config["one"].stage == "complete"


def test_c3_three_tasks_added_first_are_each_trained(bert, tmp_path):
    for name in ("one", "two", "three"):
        bert.add_task(text_spec(name))
    for name in ("one", "two", "three"):
        before = tensor_digests(bert)
        trainer_of(bert, name, tmp_path)[0].train()
        moved = {key for key, digest in tensor_digests(bert).items() if digest != before[key]}
        assert moved and all(f".{name}" in key for key in moved)
    bert.save_pretrained(tmp_path / "out")
    assert AtlasModel.from_pretrained(tmp_path / "out").finished == ["one", "two", "three"]


def test_c3_a_task_on_an_unfinished_one_is_refused_before_training(bert_folder, tmp_path):
    model = learned(bert_folder, ("one", "two"))
    model.peft_config["one"].stage, model.peft_config["two"].stage = "expansion", "experience"
    with Unchanged(model, tmp_path), pytest.raises(ValueError, match=r"'two' cannot learn on \['one'\], not finished"):
        trainer_of(model, "two", tmp_path)[0].train()
