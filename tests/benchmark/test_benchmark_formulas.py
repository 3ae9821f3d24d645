"""Each of the benchmark's methods by itself: its formula, by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from atlas_hf.benchmark.methods import METHODS
from atlas_hf.benchmark.methods.adapter import Bottleneck
from atlas_hf.benchmark.methods.base import PlainTrainer
from atlas_hf.benchmark.methods.joint import MixedBatches
from atlas_hf.benchmark.methods.lwf import distillation
from atlas_hf.benchmark.methods.plain_model import sites
from atlas_hf.model import evaluating
from atlas_hf.streams import digits
from shared.benchmark_history import NAMES, SETTING, TASKS, history, settings
from shared.comparing import tensor_digests


def test_heads_learn_at_the_full_rate_and_the_backbone_at_its_share():
    method = METHODS["sequential_ft"](SETTING)
    method.model.add_task(TASKS[0][0])
    method.unfreeze(method.trained_parameters(NAMES[0]))
    trainer = PlainTrainer(method, settings(), NAMES[0])
    names = {id(p): name for name, p in method.model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in trainer._parameter_groups(method.model) for p in group["params"]}
    assert {rate for name, rate in rates.items() if name.startswith("heads.")} == {5e-3}
    assert {rate for name, rate in rates.items() if ".encoder." in name} == {5e-3 * method.rate}


def test_what_a_method_adds_is_in_the_training_loss_only(monkeypatch):
    method = history("freeze_encoder").method.fork()
    monkeypatch.setattr(type(method), "extra_loss", lambda *_: 7.0)
    trainer = PlainTrainer(method, settings(), NAMES[0])
    batch = trainer.data_collator([TASKS[0][1]["train"][i] for i in range(4)])
    method.model.set_task(NAMES[0])
    plain = method.model.eval()(**batch).loss
    torch.testing.assert_close(trainer.compute_loss(method.model.eval(), batch), plain)
    torch.testing.assert_close(trainer.compute_loss(method.model.train(), batch), plain + 7)


def test_a_bottleneck_begins_as_nothing():
    torch.manual_seed(0)
    adapter, x = Bottleneck(6, 3), torch.randn(2, 4, 6)
    assert torch.equal(adapter(x), x)
    nn.init.normal_(adapter.up.weight)
    hidden = x @ adapter.down.weight.T + adapter.down.bias
    torch.testing.assert_close(adapter(x), x + (hidden * hidden.sigmoid()) @ adapter.up.weight.T)


def test_adapters_sit_where_those_of_atlas_do():
    backbone = METHODS["adapter"](SETTING).model.backbone
    assert list(sites(backbone)) == list(history("atlas").method.model.base_model.sites)


def test_the_fisher_information_is_the_mean_squared_gradient():
    method, (spec, data) = METHODS["ewc"](SETTING), TASKS[0]
    method.model.add_task(spec)
    method.unfreeze(method.trained_parameters(spec.name))
    method.after_task(spec, data["train"].select([0, 1]), settings())
    name, weight = next((n, p) for n, p in method.model.backbone.named_parameters() if "layer.1.output.dense.w" in n)
    squares = []
    for row in (0, 1):
        with evaluating(method.model) as twin:
            loss = twin(task=spec.name, **method.model.collator(spec.name)([data["train"][row]])).loss
        squares.append(torch.autograd.grad(loss, weight)[0].square())
    torch.testing.assert_close(method.fisher[name], (squares[0] + squares[1]) / 2, rtol=1e-3, atol=1e-9)


def test_the_ewc_penalty_is_a_quadratic_around_the_anchor():
    method = history("ewc").method.fork()
    assert method.penalty() == 0 and METHODS["ewc"](SETTING).penalty() == 0
    moved = {name: p for name, p in method.model.backbone.named_parameters() if "layer.2" in name}
    with torch.no_grad():
        for parameter in moved.values():
            parameter.add_(0.1)
    expected = 0.01 * sum(method.fisher[name].sum() for name in moved if name in method.fisher)
    assert expected > 0
    torch.testing.assert_close(method.penalty(), expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(method.extra_loss({}, None, 0), method.weight / 2 * expected, rtol=1e-4, atol=0)


def test_the_fisher_information_of_tasks_adds_up():
    first, second = METHODS["ewc"](SETTING), history("ewc").method
    first.learn(TASKS[:1], settings())
    name = next(iter(first.fisher))
    assert (second.fisher[name] >= first.fisher[name]).all() and second.fisher[name].sum() > first.fisher[name].sum()


def test_distillation_by_hand():
    old, new = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.0, 1.0, 1.0]])
    p, q = (np.exp(x.numpy()[0] / 2) / np.exp(x.numpy()[0] / 2).sum() for x in (old, new))
    assert distillation("multiple_choice", new, old).item() == pytest.approx((p * np.log(p / q)).sum(), rel=1e-5)
    p, q = (1 / (1 + np.exp(-x.numpy()[0] / 2)) for x in (old, new))
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()
    assert distillation("multi_label_classification", new, old).item() == pytest.approx(expected, rel=1e-5)
    assert distillation("regression", new, old).item() == pytest.approx((4 + 1 + 4) / 3)


def test_lwf_asks_for_nothing_until_the_model_moves():
    method = history("lwf").method.fork()
    method.old = method.fork().model.eval()
    method.model.train()
    inputs = method.model.collator(NAMES[1])([TASKS[1][1]["train"][i] for i in range(4)])
    pooled = method.model(task=NAMES[1], **inputs).pooled
    assert abs(method.extra_loss(inputs, pooled, 0)) < 1e-6
    assert method.extra_loss(inputs, pooled + 0.5 * torch.randn_like(pooled), 0) > 1e-4
    assert METHODS["lwf"](SETTING).extra_loss(inputs, pooled, 0) == 0


def test_an_old_head_reads_whole_examples_of_its_own():
    method = history("lwf").method.fork()
    method.old = method.fork().model
    torch.manual_seed(0)
    new, before = torch.randn(5, 128), torch.randn(5, 128)
    assert method.model.heads[NAMES[0]].rows_per_example == 2
    assert torch.equal(method.distance(NAMES[0], new, before), method.distance(NAMES[0], new[:4], before[:4]))
    assert method.distance(NAMES[0], new[:1], before[:1]) == 0
    assert method.distance(NAMES[1], new[:1], before[:1]) > 0


def test_the_memory_holds_a_share_of_each_seen_task():
    method = METHODS["experience_replay"](SETTING)
    assert method.extra_loss({}, None, 0) == 0
    (spec, _), data = TASKS[0], digits.load_task(NAMES[0], 100, 1, 1)[1]["train"]
    kept = []
    for seed in (0, 0, 1):
        method.after_task(spec, data, settings(seed=seed))
        kept.append(list(method.memory[spec.name]["question"]))
    assert len(kept[0]) == 5 and kept[0] == kept[1] != kept[2]
    assert set(kept[0]) <= set(data["question"])
    assert list(history("experience_replay").method.memory) == NAMES[:2]


def test_replay_draws_from_every_seen_task_and_by_the_step():
    method = history("experience_replay").method
    draws = [method.draw(step) for step in range(40)]
    assert {task for task, _ in draws} == set(NAMES[:2])
    again = [method.draw(step) for step in range(40)]
    assert all(a[0] == b[0] and (a[1] == b[1]).all() for a, b in zip(draws, again, strict=True))
    task, rows = draws[3]
    batch = method.model.collator(task)([method.memory[task][int(row)] for row in rows])
    torch.testing.assert_close(method.extra_loss({}, None, 3), method.model(task=task, **batch).loss)


def test_joint_batches_hold_every_example_once_and_one_task_each():
    batches = MixedBatches([5, 3], batch_size=2, seed=0)
    first, second = list(batches), list(batches)
    assert len(first) == len(batches) == 5
    for epoch in (first, second):
        assert sorted((task, row) for task, rows in epoch for row in rows) == [(0, i) for i in range(5)] + [
            (1, i) for i in range(3)
        ]
    assert first != second and first == list(MixedBatches([5, 3], 2, seed=0))


def test_joint_begins_anew_from_the_pretrained_backbone():
    method = history("joint").method.fork()
    method.learn(TASKS[:2], settings())
    assert tensor_digests(method.model) == history("joint").states[0]


def test_fusion_reuses_adapters_that_were_learned_alone():
    method = history("fusion").method.fork()
    model, alone = method.model, f"{NAMES[1]}-alone"
    assert model.peft_config[alone].experience == [] and method.sources == [NAMES[0], alone]
    assert model.members(NAMES[1]) == [NAMES[0]]
    method.learn(TASKS[2:], settings())
    assert model.members(NAMES[2]) == [NAMES[0], alone]
    assert not [name for name, p in model.named_parameters() if p.requires_grad]
