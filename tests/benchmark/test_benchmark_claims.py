"""Statistics, figures and claims worked by hand, on hand-made cells."""

from dataclasses import replace

import pytest

from atlas_hf.benchmark.learning.claims import claims
from atlas_hf.benchmark.learning.new_tasks import controls, new_tasks
from atlas_hf.benchmark.learning.scores import Paired, Results, Summary, arrange, figures, paired, summarise
from shared.benchmark_cells import DOWNSTREAM, NONE, all_cells, alone, in_order, make_cell


@pytest.fixture
def cells():
    return all_cells()


def test_summary_worked_by_hand():
    assert summarise([1.0, 2.0, 3.0, None]) == Summary(3, 2.0, 1.0, pytest.approx(1 / 3**0.5))
    assert summarise([0.5, None]) == Summary(1, 0.5, None, None)
    assert summarise([]) == Summary(0, None, None, None)


def test_paired_test_worked_by_hand():
    found = paired([1.0, 2.0, 3.0, 9.0], [0.0, 0.0, 0.0, None])
    assert (found.n, found.difference, found.error) == (3, 2.0, pytest.approx(1 / 3**0.5))
    # t = 2 sqrt(3) with 2 degrees of freedom: p = 1 - t / sqrt(2 + t^2); the quantile of 97.5 % is 4.3027.
    assert found.p == pytest.approx(1 - 12**0.5 / 14**0.5)
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), rel=1e-6)
    assert found.clear and found.reason is None
    opposite = paired([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
    assert (opposite.difference, opposite.p) == (-2.0, found.p)
    assert not paired([1.0, -1.0, 0.5], [0.0, 0.0, 0.0]).clear


def test_a_test_that_is_not_defined_says_why():
    assert paired([0.5], [0.25]) == Paired(1, 0.25, reason="one seed")
    assert paired([0.5, None], [None, 0.5]) == Paired(0, None, reason="no seed that both have")
    same = paired([0.5, 0.75], [0.25, 0.5])
    assert (same.p, same.error, same.low, same.high) == (None, 0.0, 0.25, 0.25)
    assert same.reason == "the same difference at every seed" and same.clear
    assert not paired([0.5, 0.75], [0.5, 0.75]).clear
    assert paired([0.5], [0.25]).clear is None
    with pytest.raises(ValueError, match="shorter|longer"):
        paired([1.0], [1.0, 2.0])


def test_cells_without_an_order_stand_in_every_order(cells):
    forward = arrange(alone()[0], "forward", ["a", "b"])
    reverse = arrange(alone()[0], "reverse", ["b", "a"])
    assert forward.matrix == [[0.5, None], [0.5, 0.6]] and reverse.matrix == [[0.6, None], [0.6, 0.5]]
    assert reverse.names("upstream") == ["b", "a"] and reverse.names("downstream") == list(DOWNSTREAM)
    joint = next(cell for cell in cells if cell.method == "joint")
    assert arrange(joint, "reverse", ["b", "a"]).matrix == [[None, None], [0.9, 0.8]]


def test_figures_of_a_cell():
    (cell,) = in_order("sequential_ft", 0.0, seeds=[2], drop=0.25)
    found = figures(cell)
    assert found["average_accuracy"] == pytest.approx((0.37 + 0.72) / 2)
    assert found["forgetting"] == pytest.approx(0.25) == -found["backward_transfer"]
    assert found["new_16"] == pytest.approx(0.44) and found["new_full"] == pytest.approx(0.72)
    assert found["downstream_16"] == pytest.approx(0.44) and found["downstream_full"] == pytest.approx(0.54)
    assert found["stored_parameters"] == 400 and found["effective_rank_after"] == 7
    del cell.low_shot["text-class"]["16"]
    assert figures(cell)["downstream_16"] is None, "no mean over some of the tasks"
    joint = figures(make_cell("joint", "forward", 0, [[None, None], [0.8, 0.9]], {}))
    assert joint["average_accuracy"] == pytest.approx(0.85) and joint["forgetting"] is None


def by(claim, **wanted):
    (row,) = (row for row in claim.rows if wanted.items() <= row.items())
    return row


def test_claims_worked_by_hand(cells):
    forgetting, reuse, upstream, spread = claims(Results(cells))
    assert by(forgetting, method="atlas", order="forward")["held"] is True
    lost = by(forgetting, method="sequential_ft")
    assert lost["forgetting"] == pytest.approx(0.25) == lost["worst_drop"] and lost["held"] is None
    # atlas: 0.5, 0.51, 0.54; adapter: 0.4, 0.41, 0.42: differences 0.1, 0.1, 0.12.
    row = by(reuse, order="forward", examples="16", task="all")
    assert (row["n"], row["difference"]) == (3, pytest.approx(0.32 / 3)) and row["held"] is True
    assert row["error"] == pytest.approx(0.02 / 3)
    # In reverse the differences are 0, 0 and 0.02: one standard error.
    row = by(reuse, order="reverse", examples="16", task="all")
    assert row["difference"] == pytest.approx(row["error"]) and row["held"] is False
    assert reuse.verdict == "holds in 1 of 2 comparisons"
    row = by(upstream, order="forward", examples="16", modality="image")
    assert row["low_shot_transfer"] == pytest.approx(100 * (0.31 / 3 + 1 / 300) / (0.41 - 0.25)) and row["tasks"] == 1
    row = by(spread, method="atlas", order="forward", figure="effective_rank")
    assert (row["before"], row["after"], row["difference"]) == (4, 6, 2) and row["held"] is True
    row = by(spread, method="atlas", order="forward", figure="dispersion")
    assert (row["difference"], row["held"], row["reason"]) == (0, False, "the same difference at every seed")


def test_a_claim_that_does_not_hold_says_so(cells):
    worse = [replace(cell, method="atlas") for cell in in_order("x", -0.1, drop=0.25)]
    forgetting, reuse, upstream, _ = claims(Results([*worse, *alone()]))
    assert forgetting.verdict == reuse.verdict == upstream.verdict == "holds in 0 of 1 comparisons"
    assert by(reuse, examples="16", task="all")["p"] < 0.05, "a clear loss is no gain"


def test_reuse_is_also_held_against_two_stages_without_it():
    staged = [replace(cell, method="adapter_two_stage") for cell in in_order("x", 0.1)]
    reuse = claims(Results([*in_order("atlas", 0.1), *alone(), *staged]))[1]
    assert by(reuse, baseline="adapter", examples="16", task="all")["held"] is True
    assert by(reuse, baseline="adapter_two_stage", examples="16", task="all")["held"] is False
    assert reuse.verdict == "holds in 1 of 2 comparisons"


def test_low_shot_transfer_of_a_task_at_chance_is_not_defined():
    bare = [make_cell("adapter", "any", s, [[0.5, NONE], [NONE, 0.6]], 0.25) for s in range(3)]
    for cell in bare:
        cell.low_shot["image-parity"]["16"] = 0.35
    upstream = claims(Results([*in_order("atlas", 0.1), *bare]))[2]
    row = by(upstream, examples="16", modality="text")
    assert (row["low_shot_transfer"], row["transfer_tasks"], row["held"]) == (None, 0, True)
    row = by(upstream, examples="16", modality="all")
    assert (row["transfer_tasks"], row["tasks"]) == (1, 3), "the mean is of the others"
    assert row["low_shot_transfer"] == pytest.approx(100 * (0.5 + 0.05 / 3 - 0.35) / 0.1)


def test_claims_of_one_seed_or_no_baseline():
    one = claims(Results([*in_order("atlas", 0.1, seeds=[0]), *alone([0])]))
    assert [claim.verdict for claim in one] == ["holds in 1 of 1 comparisons", *["not measured"] * 3]
    assert by(one[1], examples="16", task="all")["difference"] == pytest.approx(0.1)
    no_baseline = claims(Results(in_order("atlas", 0.1)))
    assert no_baseline[1].verdict == "not measured" and no_baseline[3].verdict == "holds in 1 of 2 comparisons"


def learned(cells, sources, parameters):
    """The cells, in which every task began at these others."""
    found = {"sources": sources, "parameters": parameters, "seconds": 1.0}
    return [replace(cell, learned={task: {"16": found} for task in ("a", "b", *DOWNSTREAM)}) for cell in cells]


def test_a_new_task_against_the_best_control_at_the_seeds_of_both():
    rival = [replace(cell, method="lora", low_shot={"b": {"16": 0.45}}) for cell in alone([0, 1])]
    cells = [*learned(in_order("atlas", 0.1), ["a"], 10), *learned(alone(), None, 30), *rival]
    results = Results(cells)
    assert controls(results) == ["adapter", "lora"]
    first, *others = new_tasks(results, "forward")
    # 0.5, 0.51, 0.54 against 0.45, 0.45 of two seeds (the adapter: 0.4, 0.41, 0.42)
    assert (first.task, first.examples, first.control) == ("b", "16", "lora")
    assert (first.control_score.mean, first.against_control.n) == (0.45, 2)
    assert first.against_control.difference == pytest.approx(0.055)
    assert (first.began_at, first.parameters, first.control_parameters) == ({"a": 3}, 10, None)
    assert first.against_copy.difference is None
    assert {one.control for one in others} == {"adapter"} and others[-1].began_at == {}
    twin = next(one for one in others if one.task in DOWNSTREAM and one.examples == "16")
    assert (twin.control_parameters, twin.against_control.n) == (30, 3)


def test_a_copy_of_the_source_is_no_control():
    copies = [replace(cell, method="adapter_copy") for cell in in_order("atlas", 0.2)]
    results = Results([*in_order("atlas", 0.1), *copies, *alone()])
    assert controls(results) == ["adapter"]
    first = new_tasks(results, "forward")[0]
    assert (first.control, first.against_copy.difference) == ("adapter", pytest.approx(-0.1))


def test_there_are_no_new_tasks_without_the_subject_or_a_control():
    assert new_tasks(Results(alone()), "any") == []
    assert new_tasks(Results(in_order("atlas", 0.1)), "forward") == []
