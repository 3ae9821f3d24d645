"""The methods of the benchmark: what each trains and keeps, equal steps, forks, seeds, and counts."""

import re
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from atlas_hf.benchmark.methods import METHODS
from atlas_hf.benchmark.methods.base import epoch_steps, total_steps
from atlas_hf.benchmark.methods.lora import equal_rank
from shared.benchmark_history import EPOCHS, NAMES, SETTING, STEPS, TASKS, count_steps, history, logits, settings
from shared.comparing import tensor_digests

STAGED = {"atlas_paper", "atlas_reference"}  # go through both stages, whatever comes of them
ATLAS = {"atlas", *STAGED}
HEAD_FIRST = {
    "atlas",
    "head_alone",
    "linear_probe",
    "fine_tuned",
    "adapter_head_first",
    "adapter_copy",
    "lora_head_first",
}  # take fewer steps than the others
SEQUENTIAL = {"sequential_ft", "freeze_bottom", "ewc", "lwf", "experience_replay"}
ATLAS_PARTS = ("down", "up", "key", "query", "experience_query", "head")
BACKBONE = r"bare\.base_model\.model\."
HEAD = r"heads\.{}\."
# What learning a second task changes or adds: patterns, each of which matches some, and together all; {} is the task.
CHANGES = {
    **dict.fromkeys(["sequential_ft", "ewc", "experience_replay"], (BACKBONE, HEAD)),
    "lwf": (BACKBONE, r"heads\.text-choice", HEAD),
    "freeze_bottom": (*(BACKBONE + part for part in (r"encoder\.layer\.[23]\.", "layernorm", "pooler")), HEAD),
    **dict.fromkeys(["freeze_encoder", "head_alone", "linear_probe"], (HEAD,)),
    **dict.fromkeys(["adapter", "adapter_two_stage", "adapter_head_first", "adapter_copy"], (r"adapters\.{}\.", HEAD)),
    **dict.fromkeys(["lora", "lora_head_first"], (rf"{BACKBONE}encoder.*\.output\.dense\.lora_[AB]\.{{}}\.", HEAD)),
    "fine_tuned": (r"copies\.{}\.", HEAD),
    "atlas": (r".*\.atlas_head\.{}\b(?!-)",),  # of 16 examples
    **dict.fromkeys(STAGED, tuple(rf".*\.atlas_{part}\.{{}}\b(?!-)" for part in ATLAS_PARTS)),
    "fusion": tuple(rf".*\.atlas_{part}\.{{}}\b(?!-)" for part in ATLAS_PARTS),
}

one_by_one = pytest.mark.parametrize("name", [name for name in METHODS if not METHODS[name].together])
every = pytest.mark.parametrize("name", METHODS)


def test_the_registry_has_every_method_of_the_benchmark():
    assert set(METHODS) == {*CHANGES, "joint"}
    assert all(method.summary and method.name == name for name, method in METHODS.items())
    assert {name for name, method in METHODS.items() if method.uses_order} == {
        *SEQUENTIAL,
        *ATLAS,
        "fusion",
        "adapter_copy",
    }


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
    trained = sum(past.trained.values())
    assert trained < 2 * STEPS if name in HEAD_FIRST else trained == 2 * STEPS
    assert all(cost.seconds > 0 and cost.samples_per_second > 0 for cost in past.costs)


def test_steps_are_those_of_both_stages():
    assert epoch_steps(settings(), 17) == 3
    assert total_steps(settings(**EPOCHS), 17) == 9 + 2
    assert total_steps(settings(**EPOCHS | {"gradient_accumulation_steps": 2}), 17) == 6 + 1
    assert total_steps(settings(max_steps=7, experience_max_steps=None), 17) == 14
    assert total_steps(settings(**EPOCHS | {"experience_max_steps": 5}), 17) == 9 + 5


@pytest.mark.parametrize("name", sorted(STAGED))
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
    assert history("atlas_paper").counts[1] == {
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


def test_an_adapter_in_two_stages_trains_its_head_first(monkeypatch):
    phases = []

    def record(trainer):
        trained = {name.split(".")[0] for name, p in trainer.model.named_parameters() if p.requires_grad}
        phases.append((trained, trainer.args.max_steps))

    monkeypatch.setattr("atlas_hf.benchmark.methods.adapter.train_quietly", record)
    METHODS["adapter_two_stage"](SETTING).learn(TASKS[:1], settings(max_steps=5, experience_max_steps=2))
    assert phases == [({"heads"}, 2), ({"adapters", "heads"}, 5)]
