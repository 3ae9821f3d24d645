"""The methods of the benchmark: what each trains and keeps, equal steps, forks, seeds, and the formula of each."""

import re
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from conftest import tensor_digests
from torch import nn
from transformers import Trainer

from atlas_hf import AtlasTrainingArguments
from atlas_hf.benchmark.methods import METHODS, Setting
from atlas_hf.benchmark.methods.adapter import Bottleneck
from atlas_hf.benchmark.methods.base import epoch_steps, total_steps
from atlas_hf.benchmark.methods.joint import MixedBatches
from atlas_hf.benchmark.methods.lora import equal_rank
from atlas_hf.benchmark.methods.lwf import distillation
from atlas_hf.benchmark.methods.plain import PlainTrainer
from atlas_hf.benchmark.methods.sites import sites
from atlas_hf.modeling import evaluating
from atlas_hf.streams import digits

SETTING = Setting(digits.BACKBONE_ID, width=8)
TASKS = [digits.load_task(name, 16, 1, 8) for name in ("text-choice", "vqa", "image-class")]
NAMES = [spec.name for spec, _ in TASKS]
STEPS = 3
EPOCHS = {"num_train_epochs": 3.0, "experience_num_train_epochs": 0.5, "max_steps": -1, "experience_max_steps": None}

ATLAS = {"atlas", "atlas_reference"}
SEQUENTIAL = {"sequential_ft", "freeze_bottom", "ewc", "lwf", "experience_replay"}
ATLAS_PARTS = ("down", "up", "key", "query", "experience_query", "head")
BACKBONE = r"bare\.base_model\.model\."
HEAD = r"heads\.{}\."
# What learning a second task changes or adds: patterns, each of which matches some, and together all; {} is the task.
CHANGES = {
    **dict.fromkeys(["sequential_ft", "ewc", "experience_replay"], (BACKBONE, HEAD)),
    "lwf": (BACKBONE, r"heads\.text-choice", HEAD),
    "freeze_bottom": (*(BACKBONE + part for part in (r"encoder\.layer\.[23]\.", "layernorm", "pooler")), HEAD),
    "freeze_encoder": (HEAD,),
    "adapter": (r"adapters\.{}\.", HEAD),
    "lora": (rf"{BACKBONE}encoder.*\.output\.dense\.lora_[AB]\.{{}}\.", HEAD),
    **dict.fromkeys(ATLAS, tuple(rf".*\.atlas_{part}\.{{}}\b(?!-)" for part in ATLAS_PARTS)),
    "fusion": tuple(rf".*\.atlas_{part}\.{{}}\b(?!-)" for part in ATLAS_PARTS),
}


def settings(**changes):
    values = digits.TRAINING | {"max_steps": STEPS - 1, "experience_max_steps": 1, "per_device_train_batch_size": 8}
    return AtlasTrainingArguments("unused", report_to="none", use_cpu=True, **values | changes)


def logits(method, task):
    """Of the test split, to the bit."""
    data = next(data for spec, data in TASKS if spec.name == task)
    inputs = method.model.collator(task).inputs(list(data["test"]))
    with torch.no_grad(), evaluating(method.model):
        return method.model(task, **inputs).logits


def count_steps(patch, counts):
    """Count the steps that are really trained, by the Trainer's task and stage."""
    step = Trainer.training_step

    def counting(trainer, *args, **kwargs):
        counts[trainer.task, getattr(trainer, "stage", None)] += 1
        return step(trainer, *args, **kwargs)

    patch.setattr(Trainer, "training_step", counting)


class History:
    """A method that learned the first two tasks, with what was seen after each."""

    def __init__(self, name):
        self.method = METHODS[name](SETTING)
        self.costs, self.states, self.logits, self.counts, self.trained = [], [], [], [], Counter()
        with pytest.MonkeyPatch.context() as patch:
            count_steps(patch, self.trained)
            for tasks in [TASKS[:2]] if self.method.together else [[task] for task in TASKS[:2]]:
                self.costs.append(self.method.learn(tasks, settings()))
                self.states.append(tensor_digests(self.method.model))
                self.logits.append({task: logits(self.method, task) for task in self.method.model.specs})
                self.counts.append(self.method.parameters())


history = cache(History)
one_by_one = pytest.mark.parametrize("name", [name for name in METHODS if not METHODS[name].together])
every = pytest.mark.parametrize("name", METHODS)


def test_the_registry_has_every_method_of_the_benchmark():
    assert set(METHODS) == {*CHANGES, "joint"}
    assert all(method.summary and method.name == name for name, method in METHODS.items())
    assert {name for name, method in METHODS.items() if method.uses_order} == {*SEQUENTIAL, *ATLAS, "fusion"}


@one_by_one
def test_a_second_task_changes_what_it_trains_and_nothing_else(name):
    before, after = history(name).states
    changed = [tensor for tensor in after if after[tensor] != before.get(tensor)]
    patterns = [pattern.format(NAMES[1]) for pattern in CHANGES[name]]
    for pattern in patterns:
        assert [tensor for tensor in changed if re.match(pattern, tensor)], pattern
    assert not [tensor for tensor in changed if not re.match("|".join(patterns), tensor)]
    assert not set(before) - set(after)


@one_by_one
def test_earlier_answers_stay_unless_the_backbone_moves(name):
    first, second = history(name).logits
    same = torch.equal(first[NAMES[0]], second[NAMES[0]])
    assert same == (name not in SEQUENTIAL)


@every
def test_all_methods_train_the_same_number_of_steps(name):
    past, count = history(name), 2 if METHODS[name].together else 1
    assert [cost.steps for cost in past.costs] == [STEPS * count] * (2 // count)
    assert sum(past.trained.values()) == 2 * STEPS
    assert all(cost.seconds > 0 and cost.samples_per_second > 0 for cost in past.costs)


def test_steps_are_those_of_both_stages():
    assert epoch_steps(settings(), 17) == 3
    assert total_steps(settings(**EPOCHS), 17) == 9 + 2
    assert total_steps(settings(**EPOCHS | {"gradient_accumulation_steps": 2}), 17) == 6 + 1
    assert total_steps(settings(max_steps=7, experience_max_steps=None), 17) == 14
    assert total_steps(settings(**EPOCHS | {"experience_max_steps": 5}), 17) == 9 + 5


@pytest.mark.parametrize("name", [*ATLAS])
def test_stages_by_epochs_have_as_many_steps_as_the_rule_says(name, monkeypatch):
    trained, method = Counter(), METHODS[name](SETTING)
    count_steps(monkeypatch, trained)
    costs = [method.learn([task], settings(**EPOCHS | {"num_train_epochs": 1.0})) for task in TASKS[:2]]
    assert [cost.steps for cost in costs] == [3, 3]
    assert trained == {(NAMES[0], "expansion"): 3, (NAMES[1], "experience"): 1, (NAMES[1], "expansion"): 2}


@every
def test_a_fork_is_the_same_model_and_learns_by_itself(name):
    method = history(name).method
    fork, task = method.fork(), TASKS[2]
    before = tensor_digests(method.model)
    for known in NAMES[:2]:
        assert torch.equal(logits(fork, known), logits(method, known))
    fork.learn([task], settings())
    assert tensor_digests(method.model) == before
    assert NAMES[2] in fork.model.specs and NAMES[2] not in method.model.specs


@every
def test_the_same_seed_gives_the_same_model_in_silence(name, capfd, recwarn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(99)
    method = METHODS[name](SETTING)
    capfd.readouterr()
    method.learn(TASKS[:2] if method.together else TASKS[:1], settings())
    assert tensor_digests(method.model) == history(name).states[0]
    method.evaluate(NAMES[0], TASKS[0][1]["test"])
    assert capfd.readouterr() == ("", "") and not list(recwarn)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["adapter", "atlas"])
def test_another_seed_gives_another_model(name):
    method = METHODS[name](SETTING)
    method.learn(TASKS[:1], settings(seed=1))
    assert tensor_digests(method.model) != history(name).states[0]


@every
def test_scores_and_features(name):
    method, test = history(name).method, TASKS[0][1]["test"]
    chosen = logits(method, NAMES[0]).argmax(-1)
    assert method.evaluate(NAMES[0], test) == np.mean([c == row["label"] for c, row in zip(chosen, test, strict=True)])
    pooled = method.pooled(NAMES[0], test)
    assert pooled.shape == (2 * len(test), 128) and pooled.std() > 0


def test_only_one_task_at_a_time():
    with pytest.raises(ValueError, match="'adapter' learns one task at a time; 2 were given. Call learn for each"):
        METHODS["adapter"](SETTING).learn(TASKS[:2], settings())


# Parameters ----------------------------------------------------------------------------------------------------------


def test_lora_has_as_many_parameters_as_an_adapter():
    adapter, lora = (history(name).method for name in ("adapter", "lora"))
    head = sum(p.numel() for p in adapter.model.heads[NAMES[1]].parameters())
    sizes = [method.parameters()["trained"] - head for method in (adapter, lora)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
    assert equal_rank([nn.Linear(100, 100)] * 3, 10) == round((201 * 10 + 100) / 200)


def test_what_is_counted():
    head = [sum(p.numel() for p in history("adapter").method.model.heads[task].parameters()) for task in NAMES[:2]]
    bottlenecks = 8 * (2 * 128 * 8 + 8 + 128)
    assert history("freeze_encoder").counts == [
        {"trained": head[0], "stored": head[0]}, {"trained": head[1], "stored": sum(head)},
    ]  # fmt: skip
    assert history("adapter").counts[1] == {"trained": bottlenecks + head[1], "stored": 2 * bottlenecks + sum(head)}
    rows = 8 * 128
    assert history("atlas").counts[1] == {
        "trained": bottlenecks + 3 * rows + head[1],
        "stored": 2 * bottlenecks + 5 * rows + sum(head),
    }
    fused = rows + head[1]
    first = bottlenecks + 2 * rows + head[0]
    assert history("fusion").counts == [
        {"trained": first, "stored": first}, {"trained": fused, "stored": first + fused},
    ]  # fmt: skip
    backbone = history("sequential_ft").method.backbone_size
    assert history("sequential_ft").counts[1] == {"trained": backbone + head[1], "stored": sum(head)}
    assert history("joint").counts == [{"trained": backbone + sum(head), "stored": sum(head)}]
    kept = sum(f.numel() for f in history("ewc").method.fisher.values())
    assert 0.9 * backbone < kept <= backbone
    assert history("ewc").counts[1]["stored"] == sum(head) + 2 * kept


# One by one ----------------------------------------------------------------------------------------------------------


def test_heads_learn_at_the_full_rate_and_the_backbone_at_its_share():
    method = METHODS["sequential_ft"](SETTING)
    method.model.add_task(TASKS[0][0])
    trainer = PlainTrainer(method, method.model, settings(), NAMES[0])
    names = {id(p): name for name, p in method.model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in trainer._parameter_groups(method.model) for p in group["params"]}
    assert {rate for name, rate in rates.items() if name.startswith("heads.")} == {5e-3}
    assert {rate for name, rate in rates.items() if ".encoder." in name} <= {5e-3 * method.rate}


def test_what_a_method_adds_is_in_the_training_loss_only(monkeypatch):
    method = history("freeze_encoder").method.fork()
    monkeypatch.setattr(type(method), "extra_loss", lambda *_: 7.0)
    trainer = PlainTrainer(method, method.model, settings(), NAMES[0])
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
        with evaluating(method.model):
            loss = method.model(spec.name, **method.model.collator(spec.name)([data["train"][row]])).loss
        squares.append(torch.autograd.grad(loss, weight)[0].square())
    torch.testing.assert_close(method.fisher[name], (squares[0] + squares[1]) / 2, rtol=1e-3, atol=1e-9)


def test_the_ewc_penalty_is_a_quadratic_around_the_anchor():
    method = history("ewc").method.fork()
    assert method.penalty() == 0 and METHODS["ewc"](SETTING).penalty() == 0
    moved = {name: p for name, p in method.model.backbone.named_parameters() if "layer.2" in name}
    with torch.no_grad():
        for parameter in moved.values():
            parameter += 0.1
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
    pooled = method.model(NAMES[1], **inputs).pooled
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
    torch.testing.assert_close(method.extra_loss({}, None, 3), method.model(task, **batch).loss)


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
