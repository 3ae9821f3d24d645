"""Settings belong to a task: one folder holds tasks of several, and says which."""

import json
import shutil

import pytest
import torch

from atlas_hf import AtlasConfig, AtlasModel, learn_sequence
from atlas_hf.cli import main
from atlas_hf.folder import Results, TaskResult
from atlas_hf.report.text import format_results
from atlas_hf.training.per_task import settings_by_task
from shared.tiny import quick, splits, text_data, text_spec

STREAM = [(text_spec(f"has-{letter}"), splits(letter)) for letter in "abc"]


@pytest.fixture
def fresh(bert_folder):
    return lambda **config: AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4, **config))


@pytest.fixture(scope="module")
def learned_once(bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    learn_sequence(model, STREAM[:1], quick(learning_rate=5e-3), folder)
    return folder


@pytest.fixture
def folder(learned_once, tmp_path):
    return shutil.copytree(learned_once, tmp_path / "run")


def logits(model, task):
    with torch.no_grad():
        return model(task=task, **model.collator(task).inputs([{"text": "a b c"}, {"text": "d"}])).logits


def test_the_next_task_has_others_and_the_one_after_it_its_own(fresh, folder, capsys):
    begun = Results.load(folder)
    given = {"has-b": {"optim": "sgd", "r": 6, "max_steps": 3}}
    learn_sequence(fresh(), STREAM[:2], quick(learning_rate=1e-2), folder, settings=given)
    model = fresh()
    learn_sequence(model, STREAM, quick(learning_rate=5e-3, num_train_epochs=1), folder)
    found = Results.load(folder)
    assert (found.settings, found.further_settings) == (begun.settings, begun.further_settings)
    own = {"learning_rate": 1e-2, "optim": "sgd", "r": 6, "max_steps": 3}
    assert [task.settings for task in found.tasks] == [{}, own, {"num_train_epochs": 1}]
    assert [model.peft_config[name].r for name in model.tasks] == [4, 6, 4]
    assert [stage["steps"] for stage in found.tasks[1].stages.values()] == [3, 3]
    loaded = AtlasModel.from_pretrained(folder)
    assert all(torch.equal(logits(loaded, name), logits(model, name)) for name in model.tasks)
    card, own = (
        (folder / "README.md").read_text(),
        "learning_rate 0.01, num_train_epochs 2, max_steps 3, r 6, optim sgd",
    )
    assert f"| has-b | {own} |" in card and "| learning_rate |" not in card
    capsys.readouterr()
    main(["info", str(folder)])
    assert f"\nhas-b: {own}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes",
    [
        {"lr_scheduler_type": "cosine"},
        {"weight_decay": 0.1},
        {"recipe": "evidence", "expand": "always"},
        {"per_device_train_batch_size": 32, "seed": 3},
    ],
)
def test_every_setting_that_can_change_what_is_learned_is_recorded(fresh, folder, changes):
    args = quick(learning_rate=5e-3, **changes)
    assert learn_sequence(fresh(), STREAM[:2], args, folder)["tasks"][1]["settings"] == changes


@pytest.mark.parametrize("config", [{"pooling": "mean"}, {"num_heads": 2}, {"variant": "reference"}])
def test_every_setting_of_the_model_is_recorded(fresh, folder, config):
    results = learn_sequence(fresh(**config), STREAM[:2], quick(learning_rate=5e-3, recipe="evidence"), folder)
    assert config.items() <= results["tasks"][1]["settings"].items()
    assert AtlasModel.from_pretrained(folder).tasks == ["has-a", "has-b"]


def test_a_finished_task_stays_and_says_so(fresh, folder, capsys):
    before = (folder / "has-a/adapter_model.safetensors").read_bytes()
    learn_sequence(fresh(), STREAM[:1], quick(learning_rate=1e-2), folder)
    line = "has-a: finished, and stays as it was learned, with learning_rate=0.005 (now 0.01)"
    assert line in capsys.readouterr().out
    assert (folder / "has-a/adapter_model.safetensors").read_bytes() == before
    learn_sequence(fresh(), STREAM[:2], quick(max_steps=1, learning_rate=5e-3), folder)
    assert "stays as it was" not in capsys.readouterr().out, "what is given now is for the new one"


def test_a_folder_of_an_older_version_goes_on(fresh, folder):
    """It recorded some of the settings, one for all tasks, and nothing of how sure a score is."""

    def older(results):
        del results["further_settings"], results["settings"]["recipe"]
        for task in results["tasks"]:
            for name in ("settings", "test_examples", "standard_error", "chance", "only_answer"):
                del task[name]

    results = json.loads((folder / "results.json").read_text())
    older(results)
    (folder / "results.json").write_text(json.dumps(results))
    args = quick(learning_rate=1e-2, optim="sgd", recipe="evidence")
    found = learn_sequence(fresh(), STREAM[:2], args, folder)["tasks"]
    assert found[0]["settings"] == {} and found[0]["chance"] is None
    assert {"learning_rate": 1e-2, "optim": "sgd", "recipe": "evidence"}.items() <= found[1]["settings"].items()


def test_an_interrupted_task_of_other_settings_begins_anew_and_says_so(fresh, folder, monkeypatch, capsys):
    from atlas_hf.training import sequence

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sequence, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learn_sequence(fresh(), STREAM[:2], quick(learning_rate=5e-3), folder)
    capsys.readouterr()
    results = learn_sequence(fresh(), STREAM[:2], quick(learning_rate=5e-3, max_steps=1), folder)
    assert "has-b: begins anew; its checkpoints are of other settings" in capsys.readouterr().out
    assert results["tasks"][1]["stages"]["expansion"]["steps"] == 1


@pytest.mark.parametrize(
    ("given", "kind", "error"),
    [
        ({"has_b": {}}, ValueError, "settings names 'has_b', which is no task of this sequence. Did you mean has-b"),
        ({"zzz": {}}, ValueError, "'zzz', which is no task of this sequence. Possible are has-a, has-b, has-c"),
        ({"has-b": {"learning_rat": 1}}, ValueError, "Task 'has-b': .* 'learning_rat', .* Did you mean learning_rate"),
        ({"has-b": {"learning_rate": -1}}, ValueError, "Task 'has-b': learning_rate is -1; give a number"),
        ({"has-b": {"r": 0}}, ValueError, "Task 'has-b': r is 0; give a whole number from 1"),
        ({"has-b": {"hub_model_id": "x"}}, ValueError, "Task 'has-b': hub_model_id is the same for all tasks"),
        ({"has-b": 3}, TypeError, "Task 'has-b': its settings is a int; give a dict, or 'auto'"),
        ("best", TypeError, "settings is 'best'; give a dict, or 'auto'"),
        ("", TypeError, "settings is .*; give a dict, or .auto."),
    ],
)
def test_bad_settings_are_found_before_anything_moves(fresh, tmp_path, given, kind, error):
    with pytest.raises(kind, match=error):
        learn_sequence(fresh(), STREAM, quick(), tmp_path / "run", settings=given)
    assert not list(tmp_path.iterdir())


def test_auto_chooses_by_the_number_of_examples_what_is_not_given(fresh):
    data = {"train": text_data("a", 640), "test": text_data("a", 8), "validation": text_data("a", 8)}
    stream = [(text_spec(name), data) for name in ("one", "two", "three")]
    given = {"one": "auto", "two": {"auto": True, "per_device_train_batch_size": 128, "learning_rate": 5e-4}}
    args = quick(num_train_epochs=20.0, per_device_train_batch_size=128)
    found = settings_by_task(given, args, fresh(), stream)
    one, two, three = (found[name].args for name in ("one", "two", "three"))
    assert (one.max_steps, one.experience_max_steps, one.per_device_train_batch_size) == (160, 40, 16)
    assert (one.learning_rate, one.query_lr_multiplier, one.eval_strategy, one.eval_steps) == (2e-3, 25, "steps", 40)
    assert (two.max_steps, two.per_device_train_batch_size, two.learning_rate) == (40, 128, 5e-4)
    assert (three.max_steps, three.num_train_epochs, three.learning_rate) == (-1, 20, 5e-4)
    assert found["one"].told.startswith("chosen for 640 examples: 160 steps (and 40 before them")
    assert "learning rate" not in found["two"].told and not found["three"].told


def test_what_auto_chose_is_told_and_recorded(fresh, tmp_path, capsys):
    args = quick(num_train_epochs=20.0, per_device_train_batch_size=128)
    results = learn_sequence(fresh(), STREAM[:1], args, tmp_path, settings="auto")
    told = capsys.readouterr().out
    assert "has-a: 64 train, 32 validation, 32 test, 2 classes\nhas-a: chosen for 64 examples: 40 steps" in told
    assert {"max_steps": 40, "learning_rate": 2e-3}.items() <= results["tasks"][0]["settings"].items()
    assert results["tasks"][0]["stages"]["expansion"]["steps"] == 40


def test_what_all_tasks_share_is_printed_once():
    auto = {"adam_epsilon": 1e-8, "max_steps": 40}
    tasks = [TaskResult("a", settings=auto), TaskResult("b", settings=auto | {"max_steps": 52, "r": 4})]
    printed = format_results(Results(tasks, [[1.0, None], [1.0, 1.0]])).splitlines()
    assert printed[printed.index("all: adam_epsilon 1e-08") :][:3] == [
        "all: adam_epsilon 1e-08", "a: max_steps 40", "b: max_steps 52, r 4"
    ]  # fmt: skip
    tasks.append(TaskResult("c"))
    assert "a: adam_epsilon 1e-08, max_steps 40" in format_results(Results(tasks, [[1.0] * 3] * 3))
