"""Reuse begins with the adapters that help a new task, and with no other."""

import pytest
import torch

from atlas_hf import AtlasTrainer
from atlas_hf.training.probe import probe_error, regression
from atlas_hf.training.screening import open_useful
from shared.comparing import Unchanged
from shared.tiny import CHOICE, PAIR, quick, text_data, text_spec

UNSAVED = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False}
NUMBER = {"problem_type": "regression", "label_names": None}


def examples(n=60, rows=1, size=8, seed=0):
    return torch.randn(n, rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_error_is_small_where_features_say_the_label_and_large_where_they_do_not():
    features = examples()
    weights = torch.linspace(-1, 1, 8, dtype=torch.double)[:, None]
    assert probe_error(features, features @ weights + 3) < 0.01
    assert probe_error(features, examples(size=1, seed=1)) > 0.9


def test_error_by_hand():
    """Of two examples each is predicted by the other's label, as the mean of the rest does."""
    features, targets = torch.tensor([[[1.0]], [[3.0]]]).double(), torch.tensor([[[0.0]], [[2.0]]]).double()
    assert probe_error(features, targets) == pytest.approx(1.0)


def test_rows_of_an_example_are_left_out_together():
    """Twins of random labels would be told by one another."""
    features, targets = examples(40, size=64), examples(40, size=1, seed=1)
    twins = torch.cat([features, features], 1), torch.cat([targets, targets], 1)
    assert probe_error(*twins) == pytest.approx(probe_error(features, targets), rel=0.05)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_examples_say_nothing(count):
    assert probe_error(examples(count), examples(count, size=1)) == 1.0


@pytest.mark.parametrize(
    ("spec", "labels", "features", "targets"),
    [
        (text_spec("t"), torch.tensor([0, 1]), (2, 1, 6), [[[1, 0]], [[0, 1]]]),
        (text_spec("t", **PAIR), torch.tensor([1]), (1, 1, 12), [[[0, 1]]]),
        (text_spec("t", **CHOICE), torch.tensor([2]), (1, 3, 6), [[[-1 / 3], [-1 / 3], [2 / 3]]]),
        (text_spec("t", **NUMBER), torch.tensor([0.5, 2]), (2, 1, 6), [[[0.5]], [[2]]]),
    ],
)
def test_each_kind_of_task_as_a_regression(spec, labels, features, targets):
    pooled = examples(len(labels) * spec.rows_per_example, size=6)[:, 0]
    x, y = regression(spec, pooled, labels)
    assert x.shape == features
    assert torch.allclose(y, torch.tensor(targets).double())


@pytest.fixture
def args(tmp_path):
    return quick(tmp_path, num_train_epochs=1, **UNSAVED)


@pytest.fixture
def model(after_noise_and_sight):
    return after_noise_and_sight


def coefficients(model, task):
    inputs = model.collator(task).inputs([{"text": "a b c"}, {"text": "d"}])
    means = torch.stack(list(model.coefficients(task, **inputs).values())).mean((0, 1))
    return dict(zip(model.members(task), means.tolist(), strict=True))


def test_what_helps_is_opened_and_the_rest_stays_closed(model):
    model.add_task(text_spec("a-again"))
    assert max(coefficients(model, "a-again").values()) < 0.15
    assert open_useful(model, "a-again", text_data("a", 128, seed=1)) == ["sees-a"]
    found = coefficients(model, "a-again")
    assert 0.3 < found["sees-a"] < 0.7 and found["noise"] < 0.15


def test_nothing_helps_with_labels_that_mean_nothing(model):
    model.add_task(text_spec("random"))
    data = text_data("a", 64, seed=1)
    labels = torch.randint(2, (64,), generator=torch.Generator().manual_seed(5)).tolist()
    with Unchanged(model):
        assert open_useful(model, "random", data.remove_columns("label").add_column("label", labels)) == []


def test_the_trainer_screens_before_its_first_stage_and_says_so(model, args, capsys):
    model.add_task(text_spec("a-again"))
    trainer = AtlasTrainer(model, args, train_dataset=text_data("a", 128, seed=1))
    torch.manual_seed(3)
    trainer.train()
    assert trainer.opened == ["sees-a"]
    assert "reuses noise, sees-a (a probe found useful: sees-a)" in capsys.readouterr().out


@pytest.mark.parametrize("init", ["opposed", "normal"])
def test_without_screening_nothing_is_opened(model, args, init):
    model.add_task(text_spec("a-again"), init_queries=init)
    trainer = AtlasTrainer(model, args, train_dataset=text_data("a", 32))
    trainer.train()
    assert trainer.opened == []


def test_an_own_adapter_begins_as_if_alone(bert):
    """Query at the key: a coefficient near 1, not the half that random ones give."""
    for init, low, high in (("screened", 0.8, 1.0), ("normal", 0.3, 0.7)):
        bert.add_task(text_spec(f"own-{init}"), experience=(), init_queries=init)
        assert low < coefficients(bert, f"own-{init}")[f"own-{init}"] < high
