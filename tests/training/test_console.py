"""What is printed while a task is learned: by whom, when, and what a reader can do with it."""

import re
from copy import deepcopy
from types import SimpleNamespace

import pytest
import transformers.trainer
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainerState

from atlas_hf import AtlasModel, AtlasTrainer
from atlas_hf.training import console, deciding
from atlas_hf.training.console import TrainingBar, TrainingLines, duration
from atlas_hf.training.pace import Pace, examples_trained_on
from shared.tiny import learned, quick, text_data, text_spec

LINE = re.compile(r"new  (epoch|step) ([\d.]+) of ([\d.]+)  loss (\d\.\d{3})(?:  accuracy (\d\.\d{3}))?  \((.*)\)")


@pytest.fixture
def model(bert_folder):
    model = learned(bert_folder, ("one",))
    model.add_task(text_spec("new"))
    return model


def trainer_of(model, folder, evaluated=True, callbacks=None, **changes):
    test = text_data("b", 32, 1) if evaluated else None
    args = quick(folder, **changes)
    return AtlasTrainer(model, args, "new", text_data("b", 48), test, callbacks=callbacks)


def test_a_line_for_each_evaluation_and_no_dictionaries(model, tmp_path, capsys):
    trainer = trainer_of(model, tmp_path)
    capsys.readouterr()
    trainer.train()
    text = capsys.readouterr().out
    lines = LINE.findall(text)
    assert [line[:3] for line in lines] == [("epoch", "1", "2"), ("epoch", "2", "2")] * 2
    assert len(re.findall(r"^new  epoch", text, flags=re.M)) == 4 and "{" not in text and "orthogonality" not in text
    logged = trainer.state.log_history  # of the last stage
    assert {"loss", "orthogonality", "learning_rate", "grad_norm"} <= set(logged[0])
    losses = [f"{entry['loss']:.3f}" for entry in logged if "loss" in entry]
    scores = [f"{entry['eval_accuracy']:.3f}" for entry in logged if "eval_accuracy" in entry]
    assert [line[3:5] for line in lines[2:]] == list(zip(losses, scores, strict=True))
    assert all(re.fullmatch(r"\d+ s, \d+ s left", line[5]) for line in lines)
    assert text.rstrip().splitlines()[-1].startswith("new: finished after ")


def test_without_evaluations_a_line_for_each_loss_and_a_length_in_steps_is_told_in_steps(model, tmp_path, capsys):
    trainer_of(model, tmp_path, evaluated=False, max_steps=4, logging_strategy="steps", logging_steps=2).train()
    lines = LINE.findall(capsys.readouterr().out)
    assert [line[:3] for line in lines] == [("step", "2", "4"), ("step", "4", "4")] * 2
    assert not any(line[4] for line in lines)


def test_the_first_word_comes_before_anything_is_computed(model, tmp_path, capsys, monkeypatch):
    class Enough(Exception):
        pass

    def check_backbone(*args, **kwargs):
        raise Enough

    trainer = trainer_of(model, tmp_path, recipe="evidence")
    capsys.readouterr()
    monkeypatch.setattr(AtlasModel, "check_backbone", check_backbone)
    with pytest.raises(Enough):
        trainer.train()
    assert capsys.readouterr().out == (
        "new: learns from 48 examples, and looks where to begin: at one or the bare backbone\n"
    )


def test_a_task_that_can_reuse_nothing_says_so(model, tmp_path, capsys):
    for name in [*model.tasks][::-1]:
        model.delete_task(name)
    for name in ("first", "second"):
        model.add_task(text_spec(name))
        AtlasTrainer(model, quick(tmp_path, recipe="evidence", expand="never"), name, text_data("a", 24)).train()
    told = capsys.readouterr().out
    assert "first: learns from 24 examples\n" in told
    assert "second: learns from 24 examples, alone: no earlier task has an adapter that it might reuse\n" in told


def test_examples_that_are_held_out_are_spoken_of(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(deciding, "find_sources", lambda *given: (["one"], {"one": 0.25, "__base__": 0.5}))
    monkeypatch.setattr(deciding, "MANY", 50)  # fewer are not held out, but rehearsed
    args = quick(tmp_path, recipe="evidence", num_train_epochs=1)
    AtlasTrainer(model, args, "new", text_data("b", 100)).train()
    text = capsys.readouterr().out
    assert "new: begins at one (error of a linear probe: one 0.250, bare backbone 0.500); found in " in text
    of = re.search(
        r"^new: learns its head first, of (\d+) examples; (\d+) others are held out, to decide by$", text, re.M
    )
    assert of and int(of[1]) + int(of[2]) == 100
    assert re.search(
        rf"new: .* (?:kept|undone, as not clearly better): [\d.]+ with it, [\d.]+ without, on {of[2]} examples", text
    )


def test_how_long_it_takes_is_told_after_the_first_steps(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(console, "FIRST_SECONDS", 0.0)
    trainer_of(model, tmp_path, evaluated=False, logging_strategy="no").train()
    told = re.findall(r"^new  about \d+ s for (\d+) more steps", capsys.readouterr().out, flags=re.M)
    assert told == ["10", "4"], "of both stages after 2 of 12 steps, of one after 2 of 6"


def test_the_time_that_is_left_counts_the_stages_to_come(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(console, "time", SimpleNamespace(perf_counter=lambda: now))
    lines = TrainingLines("new", lambda: 100 + now, lambda: 10)
    args = quick()
    state = TrainerState(max_steps=35, global_step=5, epoch=1.0)  # goes on after 5 steps
    state.log_history = [{"loss": 0.5, "step": 5}]
    lines.on_train_begin(args, state, None)
    now, state.global_step = 20.0, 15
    lines.on_evaluate(args, state, None, {"eval_accuracy": 0.75, "eval_loss": 0.4, "eval_runtime": 1.0, "epoch": 1.0})
    assert capsys.readouterr().out == "new  epoch 1 of 2  loss 0.500  accuracy 0.750  (2 min, 60 s left)\n"
    state.is_world_process_zero = False
    lines.on_evaluate(args, state, None, {"eval_accuracy": 0.75})
    assert capsys.readouterr().out == "", "one process speaks"
    state.is_world_process_zero = True
    lines.on_train_end(args, state, None)
    lines.on_evaluate(args, state, None, {"eval_accuracy": 0.75})
    assert capsys.readouterr().out == "", "no training, no line: evaluate() returns what it found"


def test_durations_are_told_in_the_unit_that_fits():
    found = [duration(seconds) for seconds in (0.2, 37, 89, 91, 600, 5399, 5401, 9000)]
    assert found == ["0 s", "37 s", "89 s", "2 min", "10 min", "90 min", "1.5 h", "2.5 h"]


def test_each_part_has_its_learning_rate_and_a_stage_that_was_not_best_at_its_end_says_so(model, tmp_path, capsys):
    trainer_of(model, tmp_path, learning_rate=2e-3, num_train_epochs=6).train()
    text = capsys.readouterr().out
    assert re.findall(r"  (queries over the experience|own key|head) .* ([\d.e-]+)\n", text) == [
        ("queries over the experience", "0.2"), ("head", "0.002"), ("own key", "0.002"), ("head", "0.002"),
    ]  # fmt: skip
    assert text.count("\n  18 steps of 16 examples\n") == 2
    scores = [float(line[4]) for line in LINE.findall(text)]
    best = [stage.index(max(stage)) + 1 for stage in (scores[:6], scores[6:])]
    expected = [str(3 * epoch) for epoch in best if epoch < 6]
    assert re.findall(r"new: takes the best state, accuracy [\d.]+ after step (\d+)\n", text) == expected != []


def test_the_bar_stays_and_what_is_the_users_own_stays(model, tmp_path, capsys):
    class Own(ProgressCallback):
        """Of the user."""

    mine = [Own(), PrinterCallback()]
    trainer = trainer_of(model, tmp_path, callbacks=mine, disable_tqdm=False)
    found = trainer.callback_handler.callbacks
    assert [one for one in found if type(one) in (Own, PrinterCallback)] == mine
    assert ProgressCallback not in map(type, found) and [type(one) for one in found].count(TrainingBar) == 1
    trainer.train()
    captured = capsys.readouterr()
    assert "new, experience:" in captured.err and "new, expansion:" in captured.err
    assert len(LINE.findall(captured.out)) == 4


def test_a_notebook_is_told_the_same(model, tmp_path, capsys, monkeypatch):
    class Table(TrainerCallback):
        """As transformers' for notebooks, it takes away what others shall see."""

        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            metrics.clear()

    monkeypatch.setattr(transformers.trainer, "DEFAULT_PROGRESS_CALLBACK", Table)
    trainer = trainer_of(model, tmp_path, disable_tqdm=False)
    assert Table not in map(type, trainer.callback_handler.callbacks)
    trainer.train()
    assert len(LINE.findall(capsys.readouterr().out)) == 4
    assert "eval_runtime" in trainer.evaluate()


def test_a_training_that_goes_on_says_what_it_leaves_out(model, tmp_path, capsys):
    fresh = deepcopy(model)
    trainer_of(model, tmp_path, save_total_limit=None).train()
    capsys.readouterr()
    first, last = sorted((tmp_path / "new" / "expansion").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    trainer_of(fresh, tmp_path, save_total_limit=None).train(str(first))
    text = capsys.readouterr().out
    assert f"new: goes on from {first} with novel knowledge expansion; left out, as it is done: experience-" in text
    assert "stage 1 of 2" not in text and "  goes on after step 3; the steps before are not repeated\n" in text
    assert [line[:3] for line in LINE.findall(text)] == [("epoch", "2", "2")] and last.name == "checkpoint-6"


def test_how_long_the_other_tasks_will_take_is_told_after_each(monkeypatch):
    clock = iter([0.0, 60.0, 200.0, 300.0])
    monkeypatch.setattr("atlas_hf.training.pace.time.perf_counter", lambda: next(clock))
    long, short = quick(max_steps=30, per_device_train_batch_size=10), quick(max_steps=-1, num_train_epochs=2.0)
    assert examples_trained_on(long, 7) == 300 and examples_trained_on(short, 50) == 100
    pace = Pace({"before": 50, "first": 300, "second": 400, "third": 100})
    assert pace.after("first") == "2 of 4 tasks after 60 s; about 2 min for the others"  # 60 s * 500 / 300
    assert pace.after("second") == "3 of 4 tasks after 3 min; about 29 s for the others"
    assert pace.after("third") == ""
