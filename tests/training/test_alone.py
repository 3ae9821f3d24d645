"""A learned task against itself, learned without the others."""

import re

import pytest
import torch

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, learn_sequence
from atlas_hf.folder import Results, TaskResult
from atlas_hf.report.text import format_help, format_results
from atlas_hf.training import evidence
from atlas_hf.training.alone import compare_alone
from atlas_hf.training.evidence import is_head_alone
from shared.comparing import tensor_digests
from shared.tiny import quick, text_data, text_spec

UNSAVED = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False}


def learn(model, data, **settings):
    args = quick(**UNSAVED | {"recipe": "evidence", "num_train_epochs": 1} | settings)
    model.add_task(text_spec("new"))
    AtlasTrainer(model, args, "new", data["train"], data.get("validation")).train()
    return args


@pytest.fixture
def data():
    return {"train": text_data("a", 24, seed=1), "test": text_data("a", 200, seed=9)}


def test_a_task_that_was_helped(after_noise_and_sight, data, capsys):
    model = after_noise_and_sight
    args = learn(model, data)
    before, names = tensor_digests(model), model.tasks
    state = torch.random.get_rng_state()
    capsys.readouterr()
    found = compare_alone(model, "new", data, args)
    assert capsys.readouterr().out == ""
    assert (tensor_digests(model), model.tasks, model.active_adapter) == (before, names, "new")
    assert torch.equal(torch.random.get_rng_state(), state)
    trainer = AtlasTrainer(model, args, "new", eval_dataset=data["test"])
    assert trainer.evaluate()["eval_accuracy"] - found["score"] == pytest.approx(found["gain"])
    assert found["examples"] == 200 and found["gain"] > 2 * found["error"] > 0


def test_it_is_what_the_task_comes_to_in_a_model_without_others(after_noise_and_sight, bert_folder, data):
    args = learn(after_noise_and_sight, data)
    found = compare_alone(after_noise_and_sight, "new", data, args)
    fresh = AtlasModel.from_pretrained(bert_folder, config=after_noise_and_sight.task_config)
    torch.manual_seed(args.seed)
    learn(fresh, data)
    single = AtlasTrainer(fresh, args, "new", eval_dataset=data["test"]).evaluate()["eval_accuracy"]
    assert abs(single - found["score"]) < 0.15  # another head was drawn


def test_after_an_error_the_model_is_as_it_was(after_noise_and_sight, data, monkeypatch):
    model = after_noise_and_sight
    args = learn(model, data)
    before = tensor_digests(model)
    monkeypatch.setattr(AtlasTrainer, "train", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare_alone(model, "new", data, args)
    assert tensor_digests(model) == before and model.active_adapter == "new"


def test_it_is_cheap_where_a_head_is_all_that_is_learned():
    args = quick(recipe="evidence")
    assert is_head_alone(16, None, args) and not is_head_alone(16, text_data("a", 8), args)
    assert not is_head_alone(evidence.LEAST, None, args)
    assert not is_head_alone(16, None, quick(recipe="evidence", expand="always"))
    assert not is_head_alone(16, None, quick(recipe="paper"))


@pytest.mark.parametrize(
    ("size", "validation", "compare", "told"),
    [
        (24, 0, None, True),  # nothing but a head is learned
        (28, 8, None, True),  # a tenth of all training examples
        (40, 8, None, False),
        (24, 0, False, False),
        (60, 0, True, True),
    ],
)
def test_a_sequence_says_what_reuse_gave(bert_folder, tmp_path, capsys, size, validation, compare, told):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    args = quick(
        **UNSAVED | {"recipe": "evidence", "num_train_epochs": 15, "learning_rate": 1e-2, "adam_epsilon": 1e-8}
    )
    splits = {"train": text_data("a", 256), "test": text_data("a", 100, seed=8)}
    new = {"train": text_data("a", size, seed=1), "test": text_data("a", 100, seed=9)}
    new |= {"validation": text_data("a", validation, seed=3)} if validation else {}
    stream = [(text_spec("first"), splits), (text_spec("new"), new)]
    settings = {"first": {"expand": "always"}, "new": {"expand": "never"} if validation else {}}
    results = learn_sequence(model, stream, args, tmp_path, compare_alone=compare, settings=settings)
    first, found = results["tasks"]
    out = capsys.readouterr().out
    assert found["experience"] == ["first"] and first["alone"] is None
    sentence = r"new: (helped|neither helped nor set back clearly) by first, \+"
    assert bool(re.search(sentence, out)) == (found["alone"] is not None) == told
    if told:
        assert found["alone"]["score"] + found["alone"]["gain"] == pytest.approx(found["score"])
        again = Results.load(tmp_path)
        assert again.tasks[1].alone == found["alone"]
        assert re.search(sentence, format_results(again))
    assert model.tasks == ["first", "new"]


@pytest.mark.parametrize(
    ("gain", "error", "words"),
    [(0.1, None, "neither helped nor set back clearly by a, +10.0 ± ? points"),
     (0.1, 0.02, "helped by a, +10.0 ± 4.0 points; alone it scores 0.5000"), (-0.1, 0.02, "set back by a, -10.0"),
     (0.01, 0.02, "neither helped nor set back clearly by a, +1.0 ± 4.0")],
)  # fmt: skip
def test_what_is_said_of_reuse(gain, error, words):
    task = TaskResult("t", opened=["a"], alone={"score": 0.5, "gain": gain, "error": error, "examples": 9})
    assert format_help(task)[0].startswith(f"t: {words}")
    assert format_help(TaskResult("t")) == []
