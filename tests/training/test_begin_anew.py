"""A notebook's cell that is run again never trains on, unasked, from what an interrupted training has left."""

from copy import deepcopy

import pytest
from transformers import TrainerCallback

from atlas_hf import AtlasTrainer
from shared.comparing import Unchanged, tensor_digests
from shared.tiny import learned, quick, text_data, text_spec


class Stop(TrainerCallback):
    """Ctrl-C in a stage, after so many steps."""

    def __init__(self, stage, step=2):
        self.stage, self.step = stage, step

    def on_step_end(self, args, state, control, **kwargs):
        if args.output_dir.endswith(self.stage) and state.global_step == self.step:
            raise KeyboardInterrupt


def trainer_of(model, folder, task="new", callbacks=None, **changes):
    relearn = changes.pop("relearn", False)
    args = quick(folder, **{"learning_rate": 1e-2, "save_strategy": "epoch"} | changes)
    data = text_data("b", 64), text_data("b", 32, 1)
    return AtlasTrainer(model, args, task, *data, callbacks=callbacks, relearn=relearn)


@pytest.fixture
def model(bert_folder):
    model = learned(bert_folder, ("one", "two"))
    model.add_task(text_spec("new"))
    return model


@pytest.mark.parametrize("recipe", ["paper", "evidence"])
@pytest.mark.parametrize("stage", ["experience", "expansion"])
@pytest.mark.parametrize("same", [True, False], ids=["same trainer", "another"])
def test_after_ctrl_c_a_task_begins_anew(model, tmp_path, capsys, recipe, stage, same):
    alone, options = deepcopy(model), {"recipe": recipe}
    stages = trainer_of(alone, tmp_path / "alone", **options)
    stages.train()
    if stage not in stages.stage_metrics:
        stage = "expansion"  # by evidence the bare backbone may do
    trainer = trainer_of(model, tmp_path / "stopped", callbacks=[Stop(stage)], **options)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert list(model.beginnings) == ["new"] and model.peft_config["new"].stage == stage
    if same:
        trainer.remove_callback(Stop)
    else:
        trainer = trainer_of(model, tmp_path / "again", **options)
    capsys.readouterr()
    trainer.train()
    text = capsys.readouterr().out
    assert "new: was left half-trained by a training that did not end; begins anew" in text
    assert tensor_digests(model) == tensor_digests(alone), "as if nothing had been"
    assert model.beginnings == {} and trainer.stage_metrics.keys() == stages.stage_metrics.keys()


def test_a_training_that_goes_on_from_a_checkpoint_does_not_begin_anew(model, tmp_path, capsys):
    alone = deepcopy(model)
    trainer_of(alone, tmp_path / "alone").train()
    with pytest.raises(KeyboardInterrupt):
        trainer_of(model, tmp_path, callbacks=[Stop("expansion", 5)]).train()
    trainer_of(model, tmp_path).train(True)
    text = capsys.readouterr().out
    assert "begins anew" not in text and "goes on after step 4;" in text
    assert tensor_digests(model) == tensor_digests(alone) and model.beginnings == {}


def test_a_relearning_that_was_interrupted_begins_at_the_finished_task(model, tmp_path):
    trainer_of(model, tmp_path / "first").train()
    alone = deepcopy(model)
    trainer_of(alone, tmp_path / "alone", relearn=True).train()
    with pytest.raises(KeyboardInterrupt):
        trainer_of(model, tmp_path / "stopped", relearn=True, callbacks=[Stop("expansion")]).train()
    trainer_of(model, tmp_path / "again", relearn=True).train()
    assert tensor_digests(model) == tensor_digests(alone)


def test_a_loss_that_is_not_finite_leaves_nothing_behind(model, tmp_path):
    """Its weights would make every further training fail."""
    alone = deepcopy(model)
    trainer_of(alone, tmp_path / "alone").train()
    with pytest.raises(FloatingPointError):
        trainer_of(model, tmp_path / "wild", learning_rate=1e38, recipe="paper").train()
    trainer_of(model, tmp_path / "again").train()
    assert tensor_digests(model) == tensor_digests(alone)


def test_a_finished_task_is_refused_with_the_way_out_and_removed_it_begins_anew(model, tmp_path):
    trainer_of(model, tmp_path).train()
    text = r"Task 'new' is finished, .*To learn it anew, remove it first, model.delete_task\('new'\), and add it again"
    with Unchanged(model), pytest.raises(ValueError, match=text):
        trainer_of(model, tmp_path).train()
    with Unchanged(model), pytest.raises(ValueError, match=r"already; .* remove it first: model.delete_task\('new'\)"):
        model.add_task(text_spec("new"))
    with pytest.raises(ValueError, match=r"model.delete_task\('one'\) \(and before that \['two', 'new'\], which"):
        model.add_task(text_spec("one"))
    model.delete_task("new")
    model.add_task(text_spec("new"))
    trainer_of(model, tmp_path).train()
    assert model.peft_config["new"].stage == "complete"


def test_what_is_forgotten_leaves_no_beginning(model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trainer_of(model, tmp_path, callbacks=[Stop("experience")]).train()
    model.delete_task("new")
    assert model.beginnings == {}


def test_a_score_on_test_data_is_recorded_with_the_task_and_reaches_the_card(model, tmp_path):
    from atlas_hf.folder import Index
    from atlas_hf.report.card import write_card

    trainer, test = trainer_of(model, tmp_path), text_data("b", 40, 2)
    with pytest.raises(ValueError, match="Task 'new' is not finished"):
        trainer.evaluate(test, record=True)
    trainer.train()
    trainer.evaluate(test)
    assert "new" not in model.metrics
    for given in (None, {"a": test}):
        with pytest.raises(ValueError, match=r"record=True keeps a score on test data, .*evaluate\(test, record=True"):
            trainer.evaluate(given, record=True)
    accuracy = trainer.evaluate(test, record=True)["eval_accuracy"]
    assert model.metrics["new"] == {"accuracy": accuracy, "random_baseline": 0.5, "test_examples": 40}
    model.save_pretrained(tmp_path / "saved")
    assert Index.load(tmp_path / "saved").tasks["new"].metrics == model.metrics["new"]
    write_card(tmp_path / "saved", "me/model")
    (row,) = [line for line in (tmp_path / "saved/README.md").read_text().splitlines() if f"{accuracy:.4f}" in line][
        :1
    ]
    assert row
