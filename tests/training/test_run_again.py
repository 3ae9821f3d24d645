"""A notebook's cell, run again or after Ctrl-C, with the model that the last run left."""

import json

import pytest
import torch

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, learn_sequence
from atlas_hf.training import sequence
from shared.tiny import quick, splits, text_spec

STREAM = [(text_spec(f"has-{letter}"), splits(letter, train=32, test=16)) for letter in "ab"]
ARGS = {"max_steps": 1, "experience_max_steps": 1}


@pytest.fixture(scope="module")
def run_once(bert_folder, tmp_path_factory):
    """A model that holds two tasks, their folder, and what the run returned. Not to be changed."""
    folder = tmp_path_factory.mktemp("first")
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    return model, folder, learn_sequence(model, STREAM, quick(**ARGS), folder)


def test_c2_a_cell_that_is_run_again_learns_nothing_and_returns_the_same(run_once, monkeypatch):
    model, folder, results = run_once
    monkeypatch.setattr(AtlasTrainer, "train", lambda *_: pytest.fail("learned again"))
    again = learn_sequence(model, STREAM, quick(**ARGS), folder)
    assert json.loads(json.dumps(again)) == json.loads(json.dumps(results))


@pytest.mark.parametrize("letters", ["ab", "cd"], ids=["the same tasks", "new tasks"])
def test_c2_a_model_with_tasks_and_a_new_folder_are_refused(run_once, tmp_path, letters):
    stream = [(text_spec(f"has-{letter}"), splits(letter)) for letter in letters]
    text = r"The model holds the tasks \['has-a', 'has-b'\] already, but .*new holds no tasks. Give a model without"
    with pytest.raises(ValueError, match=text):
        learn_sequence(run_once[0], stream, quick(**ARGS), tmp_path / "new")
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_c2_a_model_with_other_tensors_than_the_folder_is_refused(run_once):
    _, folder, _ = run_once
    model, before = AtlasModel.from_pretrained(folder), (folder / "atlas.json").read_bytes()
    with torch.no_grad():
        next(model.heads["has-a"].parameters()).add_(1)
    with pytest.raises(ValueError, match=r"The tasks \['has-a'\] of the model are not those that .* holds. Give a"):
        learn_sequence(model, STREAM, quick(**ARGS), folder)
    assert (folder / "atlas.json").read_bytes() == before


@pytest.mark.parametrize("moment", ["training_step", "_record"], ids=["in training", "before it is saved"])
def test_c2_a_cell_goes_on_after_ctrl_c(run_once, bert_folder, tmp_path, monkeypatch, moment):
    from atlas_hf.training import learning

    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    with monkeypatch.context() as patch:
        whole = getattr(AtlasTrainer if moment == "training_step" else learning, moment)

        def interrupted(*values, **options):
            if "has-b" in model.tasks:
                raise KeyboardInterrupt
            return whole(*values, **options)

        patch.setattr(AtlasTrainer if moment == "training_step" else learning, moment, interrupted)
        with pytest.raises(KeyboardInterrupt):
            learn_sequence(model, STREAM, quick(**ARGS), tmp_path)
    assert model.tasks == ["has-a"]
    results = learn_sequence(model, STREAM, quick(**ARGS), tmp_path)
    assert results["matrix"] == run_once[2]["matrix"] and model.tasks == ["has-a", "has-b"]
    weights = "has-b/adapter_model.safetensors"
    assert (tmp_path / weights).read_bytes() == (run_once[1] / weights).read_bytes()


@pytest.mark.parametrize(
    ("stream", "downstream", "text"),
    [
        ([], [], "The stream is empty; give at least one pair"),
        ([STREAM[0], STREAM[0]], [], r"each is learned once, so \['has-a'\] need other names"),
        ([STREAM[0]], [STREAM[0]], r"each is learned once, so \['has-a'\] need other names"),
    ],
)
def test_c2_a_stream_without_tasks_or_with_one_twice_is_refused(bert, tmp_path, stream, downstream, text):
    with pytest.raises(ValueError, match=text):
        learn_sequence(bert, stream, quick(), tmp_path / "new", downstream)
    assert not list(tmp_path.iterdir())


def test_c2_a_stream_may_be_a_generator(run_once):
    model, folder, results = run_once
    assert learn_sequence(model, iter(STREAM), quick(**ARGS), folder)["matrix"] == results["matrix"]


def test_c2_a_task_is_not_added_twice(run_once):
    with pytest.raises(ValueError, match="There is a task 'has-a' already; .*Choose another name"):
        run_once[0].add_task(STREAM[0][0])


def test_c2_a_trainer_may_be_made_twice(bert, tmp_path):
    """The second time as if it had been the first."""
    bert.add_task(STREAM[0][0])
    before = {name: value.clone() for name, value in bert.state_dict().items()}
    for _ in range(2):
        trainer = AtlasTrainer(
            bert, quick(tmp_path, **ARGS), "has-a", STREAM[0][1]["train"], STREAM[0][1]["validation"]
        )
    assert all(torch.equal(value, before[name]) for name, value in bert.state_dict().items())
    trainer.train()
    assert bert.peft_config["has-a"].stage == "complete"


def test_a_second_run_into_the_same_folder_is_refused_while_the_first_learns(bert_folder, tmp_path, monkeypatch):
    """The index that the one writes last would lack what the other has finished."""
    first, other = (AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4)) for _ in range(2))
    learn, refused = sequence.learn_task, []

    def with_another_run(*given):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ValueError, match="Another run learns into .* at this moment. Nothing was changed. Wait"):
            learn_sequence(other, STREAM[1:], quick(**ARGS), tmp_path)
        refused.append(sorted(tmp_path.rglob("*")) == before)
        return learn(*given)

    monkeypatch.setattr(sequence, "learn_task", with_another_run)
    learn_sequence(first, STREAM[:1], quick(**ARGS), tmp_path)
    monkeypatch.undo()
    assert refused == [True]
    assert len(learn_sequence(other, STREAM, quick(**ARGS), tmp_path)["matrix"]) == 2


def test_a_name_that_peft_cannot_tell_from_a_module_is_refused_before_the_first_task(bert_folder, tmp_path):
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    stream = [STREAM[0], (text_spec("model"), STREAM[1][1])]
    with pytest.raises(ValueError, match="Task name 'model' is not allowed: it is a digit, holds a dot"):
        learn_sequence(model, stream, quick(**ARGS), tmp_path / "new")
    assert not model.tasks and not (tmp_path / "new").exists()
