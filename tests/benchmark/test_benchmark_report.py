"""Statistics and claims worked by hand, and the report on hand-made cells, some of them missing."""

import csv
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import hf_hub_download
from PIL import Image

from atlas_hf.benchmark.learning.claims import claims
from atlas_hf.benchmark.learning.dataset import push
from atlas_hf.benchmark.learning.over_seeds import Paired, Summary, paired, summarise
from atlas_hf.benchmark.learning.report import write_report
from atlas_hf.benchmark.learning.scores import Results, arrange, figures
from atlas_hf.cli import main
from atlas_hf.hub import AccessError
from shared.benchmark_standins import DOWNSTREAM, make_cell
from shared.hub_server import loopback_hub

NONE = None


def representation(rank, dispersion=0.5, points=False):
    state = {"effective_rank": rank, "dispersion": dispersion, "spectrum": [0.6, 0.3, 0.1], "tasks": {}}
    return state | ({"points": {"a": [[0.0, 1.0], [1.0, 0.0]], "b": [[1.0, 1.0]]}} if points else {})


def both(before, after, points=False):
    return {"before": representation(before, points=points), "after": representation(after, points=points)}


def in_order(method, gain, order="forward", seeds=(0, 1, 2), drop=0.0):
    """Seed s scores s points more; task 'a' (or 'b' in reverse) drops at the second task."""
    cells = []
    for seed in seeds:
        first, second = 0.6 + seed / 100, 0.7 + seed / 100
        matrix = [[first, NONE], [first - drop, second]]
        states = both(4.0, 5.0 + seed, points=seed == 0)
        few, coefficients = 0.4 + gain + seed * seed / 100, {"a": {"a": 0.5}, "b": {"a": seed / 4, "b": 0.75}}
        cells.append(make_cell(method, order, seed, matrix, few, states, coefficients=coefficients))
    return cells


def alone(seeds=(0, 1, 2)):
    """Independent adapters: 0.4 + s at 16 examples."""
    diagonal = [[0.5, NONE], [NONE, 0.6]]
    return [make_cell("adapter", "any", s, diagonal, 0.4 + s / 100, both(4.0, 4.0), stored=200) for s in seeds]


def all_cells():
    joint = make_cell("joint", "any", 0, [[NONE, NONE], [0.8, 0.9]], {})
    return [
        *in_order("atlas", 0.1), *in_order("atlas", 0.0, "reverse"), *alone(), joint,
        *in_order("sequential_ft", -0.1, drop=0.25),
    ]  # fmt: skip


@pytest.fixture
def cells():
    return all_cells()


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A folder of cells and their report; tests only read it."""
    folder = tmp_path_factory.mktemp("reported")
    for cell in all_cells():
        cell.write(folder)
    assert main(["report", str(folder)]) == 0
    return folder


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


def test_golden_numbers_of_the_report(reported):
    text = (reported / "report.md").read_text()
    cost = "8.0 | 50 | 500 |"
    rows = [
        # average accuracy (0.65, 0.66, 0.67); 16 examples (0.5, 0.51, 0.54), downstream at full size 0.1 more
        "| atlas | 3 | 66.0 ± 1.0 | 0.0 ± 0.0 | 0.0 ± 0.0 | 51.7 ± 2.1 | 51.7 ± 2.1 | 61.7 ± 2.1 | 100 | 400 | "
        + cost,
        "| adapter | 3 | 55.0 ± 0.0 | 0.0 ± 0.0 | 0.0 ± 0.0 | 41.0 ± 1.0 | 41.0 ± 1.0 | 51.0 ± 1.0 | 100 | 200 | "
        + cost,
        f"| joint | 1 | 85.0 | - | - | - | - | - | 100 | 400 | {cost}",
        "| adapter | **+11.0 ± 1.2** (p 0.003) | **+10.7 ± 1.3** (p 0.004) |",
        "| a | 61.0 | - |",
        "| in task | a | b |\n| --- | ---: | ---: |\n| a | 0.500 | - |\n| b | 0.250 | 0.750 |",
        "| atlas | forward | 3 | 0.0 ± 0.0 | 0.0 | yes |",
        "| sequential_ft | forward | 3 | 25.0 ± 0.0 | 25.0 | - |",
        "| atlas | forward | effective_rank | 4.0 | 6.0 | 3 | +2.00 ± 1.15 [-0.48, +4.48] | 0.074 | yes |",
    ]
    for row in rows:
        assert row in text, row
    assert "**holds in 1 of 2 comparisons** (a comparison counts if better than the baseline" in text
    assert text.index("order forward") < text.index("order reverse")
    assert (
        "**3 cells are missing**; figures are of the others: sequential_ft/reverse/seed-0, "
        "sequential_ft/reverse/seed-1, sequential_ft/reverse/seed-2." in text
    )


def test_methods_without_low_shot_scores_may_have_fewer_seeds(cells):
    matrix, orders = [[0.5, NONE], [0.2, 0.5]], ("forward", "reverse")
    fine_tuning = [make_cell("sequential_ft", order, 0, matrix, {}) for order in orders]
    results = Results([*in_order("atlas", 0.1), *in_order("atlas", 0.1, "reverse"), *alone(), *fine_tuning])
    assert results.missing() == []
    assert Results([*results.cells[1:]]).missing() == [results.cells[0].key]
    assert Results([*results.cells[:-1]]).missing() == [results.cells[-1].key]


def test_pictures_and_tables(reported):
    for name in ("low_shot", "accuracy_parameters", "accuracy_matrices", "representation"):
        with Image.open(reported / f"{name}.png") as picture:
            assert picture.width > 500 and np.asarray(picture.convert("L")).std() > 10
        assert f"({name}.png)" in (reported / "report.md").read_text()
    with (reported / "paired_tests.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["baseline"] == "adapter" and row["order"] == "forward"]
    found = {row["figure"]: row for row in rows}
    assert float(found["new_16"]["difference"]) == pytest.approx(0.32 / 3) and found["new_16"]["n"] == "3"
    with (reported / "figures.csv").open() as file:
        rows = list(csv.DictReader(file))
    score = next(r for r in rows if (r["method"], r["figure"], r["after"], r["task"]) == ("atlas", "score", "b", "a"))
    assert float(score["value"]) == 0.6 and score["examples"] == ""


def test_a_report_of_what_is_there(tmp_path):
    """One seed, no adapter to compare with, no low-shot scores, no points to draw."""
    make_cell("atlas", "forward", 0, [[0.5, NONE], [0.25, 0.5]], {}).write(tmp_path)
    for name in ("claim_b.csv", "representation.png"):
        (tmp_path / name).write_text("of an earlier report")
    text = write_report(tmp_path).read_text()
    assert "| atlas | 1 | 37.5 | 25.0 | -25.0 | 100 | 400 |" in text
    assert "**holds in 0 of 1 comparisons** (a comparison counts if no task's score ever drops)" in text
    assert text.count("**not measured**") == 3 and "cells are missing" not in text
    assert "low_shot.png" not in text and "representation.png" not in text and "accuracy_matrices.png" in text
    assert not (tmp_path / "claim_b.csv").exists() and not (tmp_path / "representation.png").exists()


def test_drawn_again_it_is_the_same_and_goes_to_the_hub(reported, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in reported.glob("*.*")}
    with loopback_hub(tmp_path / "home") as hub:
        assert main(["report", str(reported), "--push-to", "user/results"]) == 0
        assert "/datasets/user/results/commit/" in capsys.readouterr().out
        assert ("dataset", "user/results") in hub.store.repos
        parquet = hf_hub_download("user/results", "data/train-00000-of-00001.parquet", repo_type="dataset")
    assert {path.name: path.read_bytes() for path in reported.glob("*.*")} == before and len(before) == 11
    rows = pq.read_table(parquet).to_pylist()
    found = {
        row["seed"]: row["value"]
        for row in rows
        if (row["method"], row["order"], row["task"], row["examples"]) == ("adapter", "reverse", "text-class", "16")
    }
    assert found == pytest.approx({0: 0.4, 1: 0.41, 2: 0.42})
    assert {row["value"] for row in rows if row["method"] == "joint" and row["figure"] == "forgetting"} == {None}


def test_pushing_without_the_right(cells, tmp_path):
    with loopback_hub(tmp_path / "home", token="hf_read") as hub:
        with pytest.raises(AccessError, match="user/results"):
            push(cells, "user/results")
        assert not hub.store.repos
