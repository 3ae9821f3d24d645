"""By evidence: a task begins where it helps, with a head learned to its end, and keeps only what helps it."""

import logging
from copy import deepcopy
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, learn_sequence
from atlas_hf.folder import Results
from atlas_hf.metrics.single import SCORES
from atlas_hf.training import deciding, rehearsal, sources
from atlas_hf.training.evidence import clearly_better, hold_out
from atlas_hf.training.probe import left_out_errors
from atlas_hf.training.pruning import prune_experience
from atlas_hf.training.rehearsal import rehearse
from atlas_hf.training.sources import find_sources
from shared.comparing import file_digests, tensor_digests
from shared.tiny import CHOICE, NUMBER, quick, splits, text_data, text_spec

UNSAVED = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False}


def by_evidence(output_dir="unused", **changes):
    return quick(output_dir, **UNSAVED | {"recipe": "evidence", "num_train_epochs": 1} | changes)


@pytest.fixture
def model(after_noise_and_sight):
    return after_noise_and_sight


def shuffled(data):
    labels = torch.randint(2, (len(data),), generator=torch.Generator().manual_seed(5)).tolist()
    return data.remove_columns("label").add_column("label", labels)


def train(model, data, task="new", args=None, spec=None, **options):
    model.add_task(spec or text_spec(task))
    trainer = AtlasTrainer(model, args or by_evidence(), task, data, **options)
    trainer.train()
    return trainer


def score_of(trainer, letter="a"):
    return trainer.evaluate(text_data(letter, 200, seed=9))["eval_accuracy"]


# Where it begins ---------------------------------------------------------------------------------------------------


def test_a_twin_of_a_learned_task_begins_at_its_model_and_needs_few_examples(model):
    before = tensor_digests(model)
    trainer = train(model, text_data("a", 24, seed=1), max_experience=1)
    assert before.items() <= tensor_digests(model).items()
    assert trainer.opened == ["sees-a"] == model.members("new")
    assert trainer.sources["sees-a"] < 0.9 * trainer.sources["__base__"]
    for site in model.base_model.sites.values():
        assert torch.equal(site.query_over("new", "sees-a"), site.query_over("sees-a", "sees-a"))
    assert score_of(trainer) > 0.95


def test_none_helps_with_labels_that_mean_nothing(model):
    trainer = train(model, shuffled(text_data("a", 64, seed=1)))
    assert trainer.opened == model.peft_config["new"].experience == []
    assert "experience" not in trainer.stage_metrics


@pytest.mark.parametrize(
    ("error", "names", "expected"),
    [
        (1.03, ["no", "yes"], []),
        (1.01, ["no", "yes"], ["sees-a"]),  # 0.02 less a 24th
        (0.91, ["bad", "good"], []),
        (0.89, ["bad", "good"], ["sees-a"]),
    ],
)
def test_a_source_of_other_classes_must_help_more(model, monkeypatch, error, names, expected):
    of_sees_a = {(): 1.0, ("sees-a",): error, ("noise",): 2.0}
    monkeypatch.setattr(sources._Probe, "errors", lambda self, where, *_: torch.full((24,), of_sees_a[tuple(where)]))
    model.add_task(text_spec("new", label_names=names))
    assert find_sources(model, "new", text_data("a", 24))[0] == expected


def test_what_a_source_reuses_comes_with_it_and_a_limit_keeps_it_out(model):
    model.add_task(text_spec("on-both"), experience=["noise", "sees-a"])
    model.set_stage("on-both", "complete")
    for site in model.base_model.sites.values():  # its own model is that of sees-a, but for its closed noise
        site.atlas_experience_query["on-both"].data[1] = site.atlas_query["sees-a"].data
    model.drop_experience("on-both", ["noise"])
    model.base_model.drop_adapter("on-both")
    assert model.members("on-both") == ["sees-a"]
    model.add_task(text_spec("new"), experience=["on-both"])
    assert model.peft_config["new"].experience == ["sees-a"]
    trainer = AtlasTrainer(model, by_evidence(), "new", text_data("a", 24, seed=1), max_experience=0)
    trainer.train()
    assert trainer.opened == []


def test_a_task_offered_alone_brings_what_it_reuses(model, monkeypatch, tmp_path):
    train(model, text_data("a", 100, seed=1), "also-a", by_evidence(expand="always"))
    assert model.members("also-a") == ["sees-a", "also-a"]
    monkeypatch.setattr(sources, "MIN_GAIN", -1)

    def learn(checkpoint=None):
        again = deepcopy(model)
        again.add_task(text_spec("new"), experience=["also-a"])
        args = by_evidence(tmp_path, expand="always", save_strategy="epoch", num_train_epochs=2)
        trainer = AtlasTrainer(again, args, "new", text_data("a", 100, seed=2))
        trainer.train(checkpoint)
        return trainer

    trainer = learn()
    assert trainer.opened == ["also-a"] and set(trainer.sources) == {"__base__", "also-a"}
    assert trainer.model.members("new") == ["sees-a", "also-a", "new"]
    for stage in ("experience", "expansion"):
        found = learn(str(min((tmp_path / "new" / stage).glob("checkpoint-*"))))
        assert tensor_digests(found.model) == tensor_digests(trainer.model)


def test_of_many_candidates_those_are_computed_with_whose_heads_say_most_of_the_labels(model, monkeypatch):
    """Whatever a head takes: numbers, choices, pairs; none of another width."""
    for spec in (text_spec("number", **NUMBER), text_spec("choice", **CHOICE)):
        model.add_task(spec, experience=())
        model.set_stage(spec.name, "complete")
    model.add_task(text_spec("new"))
    data = text_data("a", 48, seed=1)
    monkeypatch.setattr(sources, "FULLY", 2)
    _, errors = find_sources(model, "new", data)
    probe = sources._Probe(model, "new", data, seed=0)
    bare = probe.pooled(())
    looks = {name: probe.first_look(name, bare) for name in model.finished}
    assert all(0 < look < float("inf") for look in looks.values()) and len(looks) == 4
    assert {name for name in errors if " + " not in name} == {"__base__", *sorted(looks, key=looks.get)[:2]}
    assert probe.first_look("choice", bare[:, 1:]) == float("inf")


def test_features_that_are_not_finite_leave_their_candidate_out(model, caplog):
    model.base_model.sites_of("noise").popitem()[1].atlas_up["noise"].bias.data.fill_(torch.nan)
    model.add_task(text_spec("new"))
    with caplog.at_level(logging.WARNING):
        chosen, errors = find_sources(model, "new", text_data("a", 24, seed=1))
    assert chosen == ["sees-a"] and errors["noise"] == float("inf")
    assert "does not begin at ['noise']: its features are not finite" in caplog.text


def test_what_may_be_reused_is_as_before_after_an_interruption(model, monkeypatch):
    expected = train(deepcopy(model), text_data("a", 24, seed=1))
    with monkeypatch.context() as patch:
        patch.setattr(sources, "left_out_errors", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(model, text_data("a", 24, seed=1))
    assert model.peft_config["new"].experience == ["noise", "sees-a"]
    trainer = AtlasTrainer(model, by_evidence(), "new", text_data("a", 24, seed=1))
    trainer.train()
    assert trainer.sources == expected.sources and trainer.opened == expected.opened


def test_targets_that_are_all_the_same_are_no_evidence_for_any_task():
    features = torch.randn(10, 1, 3, generator=torch.Generator().manual_seed(0)).double()
    assert left_out_errors(features, torch.ones(10, 1, 2).double()).sum() == 0


@pytest.mark.parametrize("rows", [1, 3])
def test_left_out_errors_are_those_of_fits_without_the_example(rows):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, rows, 5, generator=generator, dtype=torch.double)
    y = torch.randn(12, rows, 2, generator=generator, dtype=torch.double)
    found = left_out_errors(x, y)
    everything = (x - x.mean((0, 1))).square().sum()
    errors, mean = [], torch.zeros(12).double()
    for penalty in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
        error = torch.zeros(12).double()
        for i in range(12):
            kept = torch.arange(12) != i
            seen = torch.cat([x[kept].flatten(0, 1), torch.ones(11 * rows, 1).double()], 1)
            ridge = torch.diag(torch.tensor([1.0] * 5 + [0.0]).double()) * penalty * everything
            # the intercept's centre is that of all examples, so it is fitted on centred columns
            seen[:, :5] -= x.mean((0, 1))
            weights = torch.linalg.solve(seen.T @ seen + ridge, seen.T @ y[kept].flatten(0, 1))
            new = torch.cat([x[i] - x.mean((0, 1)), torch.ones(rows, 1).double()], 1)
            error[i] = (y[i] - new @ weights).square().sum()
            mean[i] = (y[i] - y[kept].mean((0, 1))).square().sum()
        errors.append(error)
    best = min(errors, key=lambda error: error.mean())
    assert torch.allclose(found, best / mean.mean())


# What it keeps -----------------------------------------------------------------------------------------------------


def test_few_examples_say_nothing_so_a_task_is_a_head_and_queries(model, tmp_path):
    trainer = train(model, text_data("a", 24, seed=1))
    assert trainer.stage_metrics == {}
    assert model.count_parameters("new")["adapter"] == model.count_parameters("new")["key"] == 0
    model.save_pretrained(tmp_path)
    keys = load_file(tmp_path / "new" / "adapter_model.safetensors")
    assert not any("atlas_down" in key or "atlas_key" in key for key in keys)
    again = AtlasModel.from_pretrained(tmp_path)
    texts = ["a b", "c d", "e a"]
    assert again.predict("new", texts=texts) == model.predict("new", texts=texts)


def test_a_task_alone_without_expansion_is_a_head_on_the_bare_backbone(model, tmp_path):
    model.add_task(text_spec("new"), experience=())
    AtlasTrainer(model, by_evidence(expand=False), "new", text_data("a", 24)).train()
    assert model.members("new") == []
    model.save_pretrained(tmp_path)
    again = AtlasModel.from_pretrained(tmp_path)
    found, expected = ([a["score"] for a in one.predict("new", texts=["a b"])[0]] for one in (again, model))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("where", ["learn_head", "answer_scores"])
def test_after_an_error_all_examples_are_there_again(model, monkeypatch, where):
    monkeypatch.setattr(deciding, "MANY", 100)
    monkeypatch.setattr(deciding, where, Mock(side_effect=FloatingPointError))
    model.add_task(text_spec("new"))
    trainer = AtlasTrainer(model, by_evidence(), "new", text_data("a", 100, seed=1))
    with pytest.raises(FloatingPointError):
        trainer.train()
    assert len(trainer.train_dataset) == 100


def test_a_checkpoint_is_of_a_training_with_the_same_bound(model):
    model.add_task(text_spec("new"))
    none, one = (AtlasTrainer(model, by_evidence(), "new", text_data("a", 8), max_experience=k) for k in (None, 1))
    assert none.fingerprint != one.fingerprint


def test_a_stage_that_changes_nothing_is_undone_and_its_adapter_goes(model):
    trainer = train(model, text_data("a", 100, seed=1), args=by_evidence(learning_rate=0.0))
    assert {found["kept"] for found in trainer.stage_metrics.values()} == {0}
    assert model.peft_config["new"].own_adapter is False


def test_an_adapter_that_helps_is_kept(model, monkeypatch):
    monkeypatch.setattr(sources, "MIN_GAIN", -1)
    args = by_evidence(num_train_epochs=15, experience_max_steps=1, learning_rate=1e-2, adam_epsilon=1e-8)
    model.add_task(text_spec("new"), experience=["noise"])
    trainer = AtlasTrainer(model, args, "new", text_data("a", 256, seed=2), text_data("a", 400, seed=3))
    trainer.train()
    found = trainer.stage_metrics["expansion"]
    assert found["kept"] == 1 and found["score_after"] > found["score_before"]
    assert model.members("new") == ["noise", "new"]
    assert trainer.train_dataset is not None and len(trainer.train_dataset) == 256


def test_a_task_alone_with_many_examples_gets_its_adapter_from_all_of_them(model, monkeypatch):
    monkeypatch.setattr(deciding, "MANY", 80)
    model.add_task(text_spec("new"), experience=())
    trainer = AtlasTrainer(model, by_evidence(), "new", text_data("a", 80))
    trainer.train()
    assert trainer.stage_metrics["expansion"]["steps"] == 5 and "kept" not in trainer.stage_metrics["expansion"]
    assert model.members("new") == ["new"]


@pytest.mark.parametrize(("rate", "members"), [(0.0, []), (1e-2, ["new"])])
def test_a_task_alone_with_fewer_examples_gets_an_adapter_if_it_helps(model, monkeypatch, rate, members):
    head = Mock(wraps=deciding.learn_head)
    monkeypatch.setattr(deciding, "learn_head", head)
    model.add_task(text_spec("new"), experience=())
    args = by_evidence(num_train_epochs=15, learning_rate=rate, adam_epsilon=1e-8)
    trainer = AtlasTrainer(model, args, "new", text_data("c", 400))
    trainer.train()
    assert model.members("new") == members
    assert [len(call.args[2]) for call in head.call_args_list] == [266, 267, 267, 400]  # three rehearsals
    found = trainer.stage_metrics["expansion"]
    assert found["kept"] == len(members) and (found["score_after"] > found["score_before"]) == bool(members)


def test_a_rehearsal_is_scored_on_examples_that_it_did_not_learn_from_and_leaves_no_trace(model, monkeypatch):
    seen, scored, told = [], [], []
    scores = rehearsal.answer_scores
    monkeypatch.setattr(rehearsal, "answer_scores", lambda *args: scored.append(args[2]) or scores(*args))
    model.add_task(text_spec("new"), experience=())
    before = tensor_digests(model)
    data = text_data("a", 50)
    without, with_adapter = rehearse(model, "new", data, by_evidence(), seen.append, told.append)
    assert len(without) == len(with_adapter) == 50 and tensor_digests(model) == before
    for learned, first, second in zip(seen, scored[::2], scored[1::2], strict=True):
        assert sorted([*learned["text"], *first["text"]]) == sorted(data["text"]) and first is second
    assert sorted(text for one in scored[::2] for text in one["text"]) == sorted(data["text"])
    assert [line[: line.index(",")] for line in told] == [f"rehearsed part {part} of 3" for part in (1, 2, 3)]


def test_expand_decides_beforehand(model):
    always = train(model, text_data("a", 24, seed=1), "always", by_evidence(expand=True), max_experience=1)
    assert list(always.stage_metrics) == ["experience", "expansion"] and len(always.train_dataset) == 24
    assert model.members("always") == ["sees-a", "always"]
    model.delete_task("always")
    never = train(model, text_data("a", 100, seed=1), "never", by_evidence(expand=False), max_experience=1)
    assert list(never.stage_metrics) == ["experience"] and len(never.train_dataset) == 100
    assert model.members("never") == ["sees-a"]


def test_evaluation_data_are_what_is_decided_by(model):
    trainer = train(model, text_data("a", 24, seed=1), eval_dataset=text_data("a", 50, seed=2))
    assert len(trainer.train_dataset) == 24
    assert list(trainer.stage_metrics) == ["experience", "expansion"]


def test_the_paper_reuses_every_task_and_keeps_both_stages(model):
    trainer = train(model, text_data("a", 24, seed=1), args=by_evidence(recipe="paper"))
    assert model.members("new") == ["noise", "sees-a", "new"]
    assert not any("kept" in found for found in trainer.stage_metrics.values())


def test_a_tenth_is_held_out_by_the_seed():
    data = text_data("a", 100)
    seen, held = hold_out(data, 0)
    assert (len(seen), len(held)) == (90, 10)
    assert sorted([*seen["text"], *held["text"]]) == sorted(data["text"])
    assert [*hold_out(data, 0)[1]["text"]] == [*held["text"]] != [*hold_out(data, 1)[1]["text"]]
    assert len(hold_out(text_data("a", 3000), 0)[1]) == 250


def test_better_is_by_more_than_one_standard_error():
    before = torch.zeros(100).numpy()
    after = before.copy()
    assert not clearly_better(after, before)
    after[:1] = 1
    assert not clearly_better(after, before)  # 0.01 at a standard error of 0.01
    after[:3] = 1
    assert clearly_better(after, before)
    assert not clearly_better(before, after)


@pytest.mark.parametrize(("name", "value"), [("recipe", "best"), ("expand", "sometimes")])
def test_other_words_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is '{value}'; possible are"):
        by_evidence(**{name: value})


def test_other_kinds_of_tasks_are_learned_too(model):
    rows = [{"text": "which", "choices": ["a b", "c d", "e f"], "label": i % 3} for i in range(60)]
    trainer = train(model, Dataset.from_list(rows), spec=text_spec("new", **CHOICE))
    assert set(trainer.sources) >= {"__base__", "noise", "sees-a"}


def test_a_folder_whose_last_task_has_no_adapter_goes_on_with_one_that_may_have(model, tmp_path):
    train(model, text_data("a", 24, seed=1))
    model.save_pretrained(tmp_path)
    again = AtlasModel.from_pretrained(tmp_path)
    assert again.peft_config["new"].own_adapter is False
    trainer = train(again, text_data("a", 24, seed=1), "newer", by_evidence(expand="always"))
    assert trainer.opened and again.count_parameters("newer")["adapter"] > 0


def test_a_head_on_the_bare_backbone_is_pruned_and_learned_again(model):
    model.add_task(text_spec("new"), experience=())
    AtlasTrainer(model, by_evidence(expand=False), "new", text_data("a", 24)).train()
    assert prune_experience(model, "new", text_data("a", 24)).contributions == {}
    trainer = AtlasTrainer(model, by_evidence(), "new", text_data("a", 24), relearn=True)
    assert trainer.train().global_step and model.members("new") == []


@pytest.mark.parametrize("target", [1e30, 1e20])
def test_targets_without_a_finite_loss_are_told_of(model, target):
    """Few examples, so that no stage would tell it."""
    data = text_data("a", 24).remove_columns("label").add_column("label", [target, -target] * 12)
    with pytest.raises(FloatingPointError, match="The loss of the head is nan.* Look for values that are NaN"):
        train(model, data, spec=text_spec("new", **NUMBER))


def test_squares_of_huge_errors_are_numbers():
    assert SCORES["pearson"](np.float32([[1e30]]), np.float32([-1e30])) == pytest.approx(-4e60)


def test_one_example_decides_nothing(model, recwarn):
    trainer = train(model, text_data("a", 24, seed=1), eval_dataset=text_data("b", 1, seed=2))
    assert {found["kept"] for found in trainer.stage_metrics.values()} == {0}
    assert not any(issubclass(one.category, RuntimeWarning) for one in recwarn)


def test_numbers_on_any_scale_are_learned(model):
    """The length of a text, told in thousands."""
    data = text_data("a", 60)
    lengths = [1000.0 * len(text.split()) for text in data["text"]]
    data = data.remove_columns("label").add_column("label", lengths)
    trainer = train(model, data, spec=text_spec("new", **NUMBER))
    answers = [found[0]["score"] for found in model.predict("new", texts=["a b", "a b c d e f"])]
    assert 1500 < answers[0] < answers[1] < 6500 and trainer.evaluate(data)["eval_pearson"] > 0.8


# On the way --------------------------------------------------------------------------------------------------------


def test_a_sequence_goes_on_where_a_candidate_is_not_finite(bert_folder, tmp_path, monkeypatch):
    def none_helps(model, task, *rest):
        model.base_model.begin_at(task, [])
        return [], {"__base__": 0.5, "has-a": float("inf")}

    monkeypatch.setattr("atlas_hf.training.deciding.find_sources", none_helps)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    args = by_evidence(expand="always", max_steps=1)
    learn_sequence(model, [(text_spec(f"has-{letter}"), splits(letter, 24, 4)) for letter in "ab"], args, tmp_path)
    assert Results.load(tmp_path).tasks[1].sources == {"__base__": 0.5}


def test_a_sequence_is_the_same_twice_and_says_what_helped(bert_folder, tmp_path):
    stream = [(text_spec(f"has-{letter}-{i}"), splits(letter)) for i, letter in enumerate("aab")]
    found = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
        args = quick(recipe="evidence", expand="always", learning_rate=1e-2, num_train_epochs=3)
        found.append((learn_sequence(model, stream, args, folder), tensor_digests(model)))
    assert found[0][1] == found[1][1]
    assert [task["sources"] for task in found[0][0]["tasks"]] == [task["sources"] for task in found[1][0]["tasks"]]
    assert "__base__" in found[0][0]["tasks"][1]["sources"]
    assert file_digests(tmp_path / "one" / "has-a-0") == file_digests(tmp_path / "two" / "has-a-0")
