"""The report on hand-made cells, some of them missing."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import hf_hub_download
from PIL import Image

from atlas_hf.benchmark.learning.report import push, write_report
from atlas_hf.benchmark.learning.scores import Results
from atlas_hf.cli import main
from atlas_hf.folder.older import names_of_older
from atlas_hf.hub import AccessError
from shared.benchmark_cells import NONE, all_cells, alone, in_order, make_cell
from shared.hub_server import loopback_hub


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
        "| b | 16 | 51.7 | 41.0 | adapter | **+10.7 ± 1.3** (p 0.004) | - |  |  |",
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
    (tmp_path / "report.md").write_text("# Benchmark on the digits stream\n\n- 9 cells, seeds 0, 1")
    text = write_report(tmp_path).read_text()
    assert "| atlas | 1 | 37.5 | 25.0 | -25.0 | 100 | 400 |" in text
    assert "**holds in 0 of 1 comparisons** (a comparison counts if no task's score ever drops)" in text
    assert text.count("**not measured**") == 3 and "cells are missing" not in text
    assert "low_shot.png" not in text and "representation.png" not in text and "accuracy_matrices.png" in text
    assert not (tmp_path / "claim_b.csv").exists() and not (tmp_path / "representation.png").exists()


def test_a_report_of_an_older_version_is_known_as_ours(reported):
    """There, nothing lists what is."""
    ours = {path.name for path in reported.iterdir() if path.is_file()} - {"new_tasks.csv"}  # it had none
    assert ours <= set(names_of_older(reported)) and "report.md" in ours
    assert "new_tasks.csv" not in names_of_older(reported)


def test_drawn_again_it_is_the_same_and_goes_to_the_hub(reported, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in reported.glob("[!.]*.*")}
    with loopback_hub(tmp_path / "home") as hub:
        assert main(["report", str(reported), "--push-to", "user/results"]) == 0
        assert "/datasets/user/results/commit/" in capsys.readouterr().out
        assert ("dataset", "user/results") in hub.store.repos
        parquet = hf_hub_download("user/results", "data/train-00000-of-00001.parquet", repo_type="dataset")
    assert {path.name: path.read_bytes() for path in reported.glob("[!.]*.*")} == before and len(before) == 12
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
