"""A task that is learned by evidence and interrupted, anywhere, ends with the bytes of one that was not."""

from copy import deepcopy
from dataclasses import asdict
from functools import cache

import pytest
import torch

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer
from atlas_hf.training import deciding, trainer
from atlas_hf.training.checkpoints import Checkpoint
from atlas_hf.training.learning import learn_task
from shared.comparing import tensor_digests
from shared.tiny import quick, text_data, text_spec

TWIN = {"train": text_data("a", 48, 7), "validation": text_data("a", 40, 8), "test": text_data("a", 20, 9)}
ARGS = {"recipe": "evidence", "num_train_epochs": 3, "per_device_train_batch_size": 32}
WAYS = {
    "kept": ARGS | {"learning_rate": 1e-2, "adam_epsilon": 1e-8},
    "undone": ARGS | {"learning_rate": 0.0},
    "always": ARGS | {"learning_rate": 1e-3, "expand": "always"},
}
# How often each is called: two stages of six steps and three checkpoints each.
CALLS = {
    (deciding, "find_sources"): 1,
    (deciding, "learn_head"): 1,
    (AtlasTrainer, "_remember"): 2,
    (AtlasTrainer, "training_step"): 12,
    (Checkpoint, "keep_start"): 6,
    (Checkpoint, "mark"): 6,
    (trainer, "stage_summary"): 2,
    (AtlasTrainer, "_decide"): 2,
    (AtlasTrainer, "_end"): 1,
}
FAST = [
    ("kept", "find_sources", 0),
    ("kept", "training_step", 9),
    ("undone", "_decide", 0),
    ("undone", "_end", 0),
]
CASES = [
    pytest.param(way, *place, number, id=f"{way}-{place[1]}-{number}", marks=() if fast else pytest.mark.slow)
    for way in WAYS
    for place, count in CALLS.items()
    for number in range(count)
    for fast in [(way, place[1], number) in FAST]
]


class Killed(BaseException):
    """What nobody catches."""


@pytest.fixture(scope="module")
def learned(bert_folder):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    model.add_task(text_spec("sees-a"), experience=())
    unsaved = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False}
    args = quick(num_train_epochs=8, learning_rate=1e-2, adam_epsilon=1e-8, **unsaved)
    AtlasTrainer(model, args, train_dataset=text_data("a", 256)).train()
    return model


def learn(learned, folder, way):
    model = deepcopy(learned)
    result = asdict(learn_task(model, text_spec("new"), TWIN, ["sees-a"], quick(**WAYS[way]), folder))
    assert result.pop("timing")["seconds"] > 0
    return result, tensor_digests(model)


@pytest.fixture(scope="module")
def whole(learned, tmp_path_factory):
    """What a task comes to that is not interrupted."""

    @cache
    def run(way):
        result, digests = learn(learned, tmp_path_factory.mktemp("whole"), way)
        assert result["opened"] == ["sees-a"]
        assert {stage.get("kept", 1) for stage in result["stages"].values()} <= ({0} if way == "undone" else {0, 1})
        return result, digests

    return run


def killing(patch, owner, name, number):
    """Let a call of a function, counted from 0, be the end."""
    function, calls = getattr(owner, name), iter(range(10**6))

    def call(*values, **options):
        if next(calls) == number:
            raise Killed
        return function(*values, **options)

    patch.setattr(owner, name, call)


@pytest.mark.parametrize(("way", "owner", "name", "number"), CASES)
def test_killed_at_a_moment(learned, whole, tmp_path, monkeypatch, way, owner, name, number):
    with monkeypatch.context() as patch:
        killing(patch, owner, name, number)
        with pytest.raises(Killed):
            learn(learned, tmp_path, way)
    assert learn(learned, tmp_path, way) == whole(way)


def test_what_is_drawn_does_not_depend_on_what_else_there_is(bert_folder, tmp_path):
    twins = []
    for others in ([], ["sees-b"]):
        model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
        for name in others:
            model.add_task(text_spec(name, label_names=["bad", "good"]))
            model.set_stage(name, "complete")
        data = TWIN | {"train": text_data("b", 48, 7)}  # a task that does nothing helps nothing
        learn_task(model, text_spec("new"), data, others, quick(**WAYS["always"]), tmp_path / str(len(others)))
        assert model.members("new") == ["new"]
        twins.append({name: digest for name, digest in tensor_digests(model).items() if ".new" in name})
    assert twins[0] == twins[1]


@pytest.fixture
def begun(learned, tmp_path):
    """Trains a new task that may reuse others in this order, and says what it came to."""

    def run(experience, expand, checkpoint=None, output="run"):
        model = deepcopy(learned)
        torch.manual_seed(1)
        model.add_task(text_spec("closed"), experience=())
        model.set_stage("closed", "complete")
        model.add_task(text_spec("new"), experience=experience)
        args = quick(tmp_path / output, **WAYS["kept"] | {"expand": expand, "save_total_limit": None})
        trainer = AtlasTrainer(model, args, "new", TWIN["train"], TWIN["validation"])
        trainer.train(checkpoint)
        return trainer

    return run


@pytest.mark.parametrize(
    ("stage", "expand"), [("experience", "always"), ("expansion", "always"), ("expansion", "never")]
)
def test_the_stage_of_a_checkpoint_goes_on_wherever_it_lies(begun, tmp_path, stage, expand):
    """Also with arguments by which it would not have begun; and the order of what was offered does not matter."""
    expected = begun(["sees-a", "closed"], "always")
    assert expected.opened == ["sees-a"]
    for path in sorted((tmp_path / "run" / "new" / stage).glob("checkpoint-*")):
        found = begun(["closed", "sees-a"], expand, str(path), "elsewhere")
        assert found.model.members("new") == ["sees-a", "new"]
        assert tensor_digests(found.model) == tensor_digests(expected.model)


def test_a_checkpoint_of_a_task_that_reuses_more_is_refused(begun, tmp_path):
    begun(["sees-a"], "always")
    path = tmp_path / "run" / "new" / "expansion" / "checkpoint-2"
    with pytest.raises(ValueError, match=r"reuses \['sees-a'\]; task 'new' may reuse \['closed'\]. Add the task with"):
        begun(["closed"], "always", str(path))
