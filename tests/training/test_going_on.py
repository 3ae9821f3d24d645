"""A stage that was interrupted goes on from its last whole checkpoint, and ends with the bytes of one that was not."""

import json
import os

import pytest

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, learn_sequence
from atlas_hf.training import checkpoints, trainer
from atlas_hf.training.checkpoints import Checkpoint, Progress
from shared.tiny import quick, splits, text_spec

STREAM = [(text_spec(f"has-{letter}"), splits(letter)) for letter in "ab"]
EPOCHS = {"num_train_epochs": 3, "learning_rate": 1e-3}
WAYS = {
    "epochs": EPOCHS,
    "steps": EPOCHS | {"save_strategy": "steps", "eval_strategy": "steps", "save_steps": 3, "eval_steps": 3},
    "accumulation": EPOCHS | {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
    "early stopping": EPOCHS | {"num_train_epochs": 8, "early_stopping_patience": 2, "learning_rate": 1e-9},
    "last state": EPOCHS | {"load_best_model_at_end": False, "max_steps": 7},
}
OWNERS = {trainer.stage_summary: trainer}  # of functions; others are methods of the trainer
FAST = ("steps", "early stopping")
CASES = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in WAYS]


class Killed(BaseException):
    """What nobody catches."""


@pytest.fixture
def learn(bert_folder, monkeypatch):
    """Learns two tasks, killed before a step (counted from 0) or a call; the steps that were done, by stage."""

    def run(folder, args, kill_at=None, function=AtlasTrainer.training_step, after=False):
        steps = []

        def training_step(self, *values, **options):
            steps.append(f"{self.task}/{self.stage}")
            if function is step and len(steps) - 1 == kill_at:
                raise Killed
            return step(self, *values, **options)

        calls = iter(range(10**6))

        def other(*values, **options):
            if not after and next(calls) == kill_at:
                raise Killed
            value = function(*values, **options)
            if after and next(calls) == kill_at:
                raise Killed
            return value

        step = whole_step
        with monkeypatch.context() as patch:
            if function is not step:
                patch.setattr(OWNERS.get(function, AtlasTrainer), function.__name__, other)
            patch.setattr(AtlasTrainer, "training_step", training_step)
            model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4, init_queries="screened"))
            try:
                learn_sequence(model, STREAM, args, folder)
            except Killed:
                assert kill_at is not None
            else:
                assert kill_at is None, "it was never reached"
        return steps

    whole_step = AtlasTrainer.training_step
    return run


def contents(folder):
    """Every file's bytes, but for the times in results and cards."""
    found = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        found[str(path.relative_to(folder))] = path.read_bytes()
        if path.parent.name == ".atlas_hf" and path.name == "files.json":  # the digests are of cards, which tell times
            found[str(path.relative_to(folder))] = sorted(json.loads(path.read_bytes())["files"])
        if path.name == "results.json":
            found[str(path.relative_to(folder))] = results = json.loads(path.read_bytes())
            assert all(task.pop("timing")["seconds"] > 0 for task in results["tasks"])
    return {name: content for name, content in found.items() if not name.endswith("README.md")}


def assert_same(folder, expected):
    found, wanted = contents(folder), contents(expected)
    assert found.keys() == wanted.keys()
    assert [name for name in found if found[name] != wanted[name]] == []


@pytest.mark.parametrize("way", CASES)
def test_a_killed_stage_goes_on(learn, tmp_path, way):
    args = quick(**WAYS[way])
    steps = learn(tmp_path / "whole", args)
    for stage in ("experience", "expansion"):
        first = steps.index(f"has-b/{stage}")
        kill = first + steps.count(f"has-b/{stage}") - 1
        folder = tmp_path / stage
        learn(folder, args, kill)
        rest = learn(folder, args)
        assert 0 < rest.count(f"has-b/{stage}") < kill - first, "most of its steps are not done again"
        assert rest == steps[-len(rest) :]
        assert_same(folder, tmp_path / "whole")


@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_that_had_ended_takes_no_step_more(learn, tmp_path, stage):
    """Killed after its last checkpoint, before its result is known: the opened tasks are not lost either."""
    args = quick(**WAYS["last state"])
    steps = learn(tmp_path / "whole", args)
    learn(tmp_path / "run", args, stage, trainer.stage_summary)
    left = steps.count("has-b/expansion") if stage == 1 else 0
    assert learn(tmp_path / "run", args) == ["has-b/expansion"] * left
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_with_other_settings_the_task_begins_again(learn, tmp_path):
    args = quick(**WAYS["last state"])
    steps = learn(tmp_path / "whole", args)
    learn(tmp_path / "run", quick(**WAYS["last state"] | {"learning_rate": 1e-2}), len(steps) // 3 - 1)
    assert learn(tmp_path / "run", args) == steps
    assert_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("ended", [False, True])
def test_a_moved_folder_goes_on_from_its_checkpoint_under_another_log(learn, tmp_path, ended):
    """The best state is not the last one, and Trainer remembers it by its whole path."""
    args = WAYS["early stopping"]
    steps = learn(tmp_path / "whole", quick(**args))
    learn(tmp_path / "run", quick(**args), *([2, trainer.stage_summary] if ended else [len(steps) - 1]))
    (tmp_path / "run").rename(tmp_path / "moved")
    other = {"logging_strategy": "steps", "logging_steps": 2, "save_total_limit": 3, "run_name": "again"}
    rest = learn(tmp_path / "moved", quick(tmp_path / "elsewhere", **args | other, dataloader_pin_memory=True))
    assert rest == ([] if ended else ["has-b/expansion"] * 4), "of 3 epochs of 4 steps"
    assert_same(tmp_path / "moved", tmp_path / "whole")


def test_only_a_whole_checkpoint_is_gone_on_from(tmp_path):
    stages = ["experience", "expansion"]
    for stage, step in (("experience", 16), ("expansion", 8), ("expansion", 16), ("expansion", 100)):
        checkpoint = tmp_path / stage / f"checkpoint-{step}"
        (checkpoint / "task").mkdir(parents=True)
        (checkpoint / "task/adapter_model.safetensors").write_bytes(b"weights")
        if step < 100:  # the last is half written
            Checkpoint(checkpoint).mark(Progress("same"))
    assert Checkpoint.last(tmp_path, stages, "same").path == tmp_path / "expansion/checkpoint-16"
    (tmp_path / "expansion/checkpoint-16/task/adapter_model.safetensors").unlink()  # half removed
    assert Checkpoint.last(tmp_path, stages, "same").path == tmp_path / "expansion/checkpoint-8"
    (tmp_path / "expansion/checkpoint-8/task/adapter_model.safetensors").write_bytes(b"half")
    assert Checkpoint.last(tmp_path, stages, "same").path == tmp_path / "experience/checkpoint-16"
    assert Checkpoint.last(tmp_path, stages, "other") is None


def test_a_checkpoint_is_on_the_disk_before_it_is_called_whole(tmp_path, monkeypatch):
    (tmp_path / "task").mkdir()
    for file in ("optimizer.pt", "task/adapter_model.safetensors"):
        (tmp_path / file).write_bytes(b"state")
    expected = {path.stat().st_ino for path in [tmp_path, *tmp_path.rglob("*")]}
    real, synced = os.fsync, set()

    def fsync(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    def write(path, values):
        assert path.parent == tmp_path and expected <= synced

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(checkpoints, "write_json", write)
    Checkpoint(tmp_path).mark(Progress("same"))
    assert expected <= synced
