"""The controls: a linear probe that is scikit-learn's, an own backbone per task, and copies of what ATLAS reuses."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression

from atlas_hf.benchmark.methods import METHODS
from atlas_hf.benchmark.methods.adapter_copy import _copied
from atlas_hf.benchmark.methods.linear_probe import LinearHead, _fit
from atlas_hf.data import by_length
from atlas_hf.model import evaluating
from atlas_hf.training.features import pooled_features
from atlas_hf.tuner import build_head
from shared.benchmark_history import NAMES, SETTING, TASKS, history, settings
from shared.comparing import tensor_digests


@pytest.mark.parametrize("strength", [0.1, 5.0, 125.0])
def test_a_linear_probe_is_logistic_regression(strength):
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=60)
    features = rng.normal(size=(60, 8)) + labels[:, None] * rng.normal(size=8)
    head = LinearHead(build_head("single_label_classification", 8, 3), scale=2.0)
    _fit(head, torch.tensor(features, dtype=torch.float32)[:, None], torch.tensor(labels), strength)
    expected = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000).fit(features / 2, labels)
    found = head.scores(head(torch.tensor(features, dtype=torch.float32))).detach().numpy()
    assert found == pytest.approx(expected.predict_proba(features / 2), abs=2e-3)


@pytest.mark.parametrize(("problem", "rows", "shape"), [("multiple_choice", 4, (5, 4)), ("image_pair", 2, (5, 3))])
def test_a_linear_head_has_the_shapes_of_the_head(problem, rows, shape):
    head = build_head(problem, 8, 1 if problem == "multiple_choice" else 3, rows)
    assert LinearHead(head, 1.0)(torch.zeros(5 * rows, 8)).shape == head(torch.zeros(5 * rows, 8)).shape == shape


def test_features_are_in_the_order_of_the_data_whatever_they_are_computed_in():
    (spec, data), method = TASKS[1], history("adapter").method
    found, labels = pooled_features(method.model, spec.name, data["test"], batch_size=3)
    with torch.no_grad(), evaluating(method.model) as twin:
        for row, values, label in zip(data["test"], found, labels, strict=True):
            batch = method.model.collator(spec.name)([row])
            torch.testing.assert_close(label, batch.pop("labels")[0])
            torch.testing.assert_close(twin.pooled(spec.name, **batch), values, atol=1e-4, rtol=1e-4)


def test_rows_by_length():
    (spec, data) = TASKS[1]
    lengths = [len(row[spec.text_columns[0]]) for row in data["train"]]
    assert [lengths[i] for i in by_length(data["train"], spec)] == sorted(lengths)
    assert by_length(list(data["train"]), spec) == by_length(data["train"], spec)
    assert by_length(data["train"].with_format("torch"), spec) == by_length(data["train"], spec)


def test_rows_by_length_of_a_transform_that_makes_the_text():
    spec = TASKS[1][0]
    (column,) = spec.text_columns
    made = Dataset.from_dict({"n": [3, 1, 2]}).with_transform(lambda rows: {column: ["x" * n for n in rows["n"]]})
    assert by_length(made, spec) == [1, 2, 0]


def test_a_fine_tuned_backbone_is_the_task_s_alone():
    method = METHODS["fine_tuned"](SETTING)
    method.learn([TASKS[0]], settings())
    copies = method.model.copies
    assert list(copies) == [NAMES[0]]
    assert tensor_digests(copies[NAMES[0]]) != tensor_digests(method.model.bare)
    assert method.parameters()["stored"] > sum(p.numel() for p in method.model.bare.parameters())


def test_a_copy_computes_what_atlas_begins_with():
    earlier = deepcopy(history("atlas_paper").method.model)
    spec, data = TASKS[2]
    earlier.add_task(spec)
    earlier.set_stage(spec.name, "experience")
    earlier.base_model.begin_at(spec.name, [NAMES[0]])
    method = METHODS["adapter_copy"](SETTING)
    method.model.add_task(spec)
    method.model.adapters[spec.name] = _copied(earlier, spec.name, data["test"])
    ours, theirs = (pooled_features(one, spec.name, data["test"], 8)[0] for one in (method.model, earlier))
    bare = METHODS["adapter"](SETTING)
    bare.model.add_task(spec)  # whose adapter begins as nothing
    nothing = pooled_features(bare.model, spec.name, data["test"], 8)[0]
    assert (ours - theirs).norm() < 0.1 * (nothing - theirs).norm()


def test_a_copy_begins_where_atlas_does_and_leaves_the_source_alone(monkeypatch):
    monkeypatch.setattr("atlas_hf.training.sources.MIN_GAIN", -1)  # whatever comes first helps
    method = METHODS["adapter_copy"](SETTING)
    method.learn([TASKS[0]], settings())
    assert method.began_at[NAMES[0]] == []
    method.learn([TASKS[1]], settings())
    assert set(method.began_at[NAMES[1]]) <= {NAMES[0]}
    assert method.earlier.model.tasks == [NAMES[0]]
