"""The run of a benchmark: what a cell holds, going on with a folder, and the command."""

import json

import numpy as np
import pytest

from atlas_hf.benchmark.learning.cells import Cell, CellError, Key, read_cells
from atlas_hf.benchmark.learning.run import run
from atlas_hf.benchmark.methods import METHODS
from atlas_hf.cli import main
from atlas_hf.streams import digits
from shared.benchmark_standins import STANDINS, UPSTREAM, calls, make_plan
from shared.comparing import file_digests

SOME = {name: STANDINS[name] for name in ("reuser", "alone")}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """All stand-ins, one order, one seed."""
    folder = tmp_path_factory.mktemp("measured")
    done = run(make_plan(folder), folder, jobs=2, progress=False)
    assert not done.failed and len(done.measured) == 4
    return folder


def cell(folder, method, order="multi-first", seed=0):
    return Cell.read(Key(method, order, seed).path(folder))


def test_a_method_in_an_order(measured):
    found = cell(measured, "reuser")
    assert found.names("upstream") == UPSTREAM and found.tasks[0]["random_baseline"] == 1 / 3
    assert np.array(found.matrix, float)[-1] == pytest.approx([0.6, 0.65, 0.7, 0.75])
    assert found.matrix[1] == [found.matrix[0][0], found.matrix[3][1], None, None]
    assert "entailment" not in found.low_shot, "the first task has nothing to build on"
    assert found.low_shot["vqa"] == {"4": 0.65, "8": 0.65}, "what copies learn is forgotten again"
    assert found.low_shot["image-pairs"] == pytest.approx({"4": 0.7, "8": 0.7, "full": 0.8})
    assert found.parameters == {"trained": 100, "stored": 400}
    cost = dict(found.cost)
    assert 50e6 < cost.pop("peak_memory_bytes") < 4e9 and cost.pop("eval_seconds") > 0 < cost.pop("cell_seconds")
    assert cost == {"train_seconds": 8, "samples_per_second": 50, "steps": 40}, "low-shot copies are left out"


def test_a_method_that_forgets(measured):
    assert np.array(cell(measured, "forgetter").matrix[3]) == pytest.approx([0.0, 0.25, 0.5, 0.75])


def test_methods_without_an_order(measured):
    alone, together = cell(measured, "alone", "any"), cell(measured, "together", "any")
    assert alone.matrix == [[0.6 if i == j else None for j in range(4)] for i in range(4)]
    assert alone.low_shot["entailment"] == {"4": 0.5, "8": 0.5}
    assert together.matrix == [[None] * 4] * 3 + [[0.6] * 4] and together.low_shot == {}


def test_settings_of_the_two_sizes(measured):
    noted = {line.split(" ", 3)[3] for line in calls(measured)}
    assert noted == {"4 3", "8 3", "12 -1"}, "max_steps is that of the low-shot settings, full size has epochs"


def test_a_finished_cell_is_never_run_again(measured):
    before, log = file_digests(measured / "cells"), calls(measured)
    times = {path: path.stat().st_mtime_ns for path in (measured / "cells").rglob("*.json")}
    done = run(make_plan(measured), measured, progress=False)
    assert not done.measured and not done.failed
    assert file_digests(measured / "cells") == before and calls(measured) == log
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_new_seed_runs_only_what_is_missing(measured):
    before, log = file_digests(measured / "cells"), calls(measured)
    done = run(make_plan(measured, seeds=[0, 1], methods=SOME), measured, progress=False)
    assert sorted(done.measured) == [Key("alone", "any", 1), Key("reuser", "multi-first", 1)]
    assert file_digests(measured / "cells").items() > before.items()
    assert {line.split()[1] for line in calls(measured)[len(log) :]} == {"1"}
    assert "points" in cell(measured, "alone", "any").representation["after"]
    assert "points" not in cell(measured, "alone", "any", 1).representation["after"]


def test_methods_without_low_shot_sizes_may_have_seeds_of_their_own(tmp_path):
    plan = make_plan(tmp_path, seeds=[0, 1], other_seeds=[1], methods=SOME, low_shot_methods=["adapter"])
    assert plan.keys == [Key("reuser", "multi-first", 1), Key("alone", "any", 1)]
    plan = make_plan(tmp_path, seeds=[0, 1], other_seeds=[0], methods=METHODS, low_shot_methods=["adapter"])
    assert {key.method for key in plan.keys if key.seed == 1} == {"adapter"}
    assert {key.method for key in plan.keys if key.seed == 0} == set(METHODS)


def test_other_settings_are_refused_and_nothing_is_lost(measured):
    before = file_digests(measured)
    with pytest.raises(CellError, match=r"was measured otherwise: width is 4, not 8. Use another folder."):
        run(make_plan(measured, width=8), measured, progress=False)
    assert file_digests(measured) == before


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"schema": 2}, r"has schema 2; this version of atlas_hf reads 1. Measure it again."),
        ({"seed": 5}, r"says that it is alone/any/seed-5. Move it to its place, or delete it."),
        ({"matrix": [[1]]}, r"the matrix of 4 upstream tasks is not 4 x 4"),
        ({"tasks": [{"name": "a"}]}, "a task lacks one of .'metric', 'modality', 'name'"),
        ({"more": 1}, r"lacks \[\] and has unknown \['more'\]. Delete it to measure it again."),
    ],
)
def test_a_file_that_is_no_cell(measured, tmp_path, changes, text):
    path = Key("alone", "any", 0).path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(json.loads(Key("alone", "any", 0).path(measured).read_text()) | changes))
    with pytest.raises(CellError, match=text):
        read_cells(tmp_path)


def test_cells_of_two_benchmarks_in_one_folder(measured, tmp_path):
    for key, changes in ((Key("alone", "any", 0), {}), (Key("together", "any", 0), {"stream": "other"})):
        path = key.path(tmp_path)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(json.loads(key.path(measured).read_text()) | changes))
    with pytest.raises(CellError, match="stream is 'other', not 'digits'"):
        read_cells(tmp_path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"orders": ["nothing"]}, "There is no order 'nothing'; possible are multi-first, mono-first."),
        ({"stream": "nothing"}, "There is no stream 'nothing'"),
        ({"low_shot": ["13"]}, r"Low-shot size '13': give numbers from 1 to 12 \(the training examples of a task\)"),
        ({"low_shot": ["few"]}, "Low-shot size 'few': give numbers"),
    ],
)
def test_a_plan_that_cannot_be(tmp_path, changes, text):
    with pytest.raises(ValueError, match=text):
        make_plan(tmp_path, **changes)


SMOKE = ["benchmark", "--smoke", "--jobs", "2", "--output"]


@pytest.fixture
def settings(monkeypatch):
    """Those of the stream may be tuned; what is asserted here does not depend on it."""
    monkeypatch.setattr(digits, "BENCHMARK_SIZES", digits.SIZES, raising=False)
    monkeypatch.setattr(digits, "BENCHMARK_TRAINING", digits.TRAINING, raising=False)
    monkeypatch.setattr(digits, "LOW_SHOT_SIZES", (16, 64), raising=False)
    monkeypatch.setattr(digits, "LOW_SHOT_TRAINING", digits.TRAINING, raising=False)


def test_the_command_measures_and_reports(settings, tmp_path, capsys):
    methods = ["--methods", "adapter", "atlas"]
    assert main([*SMOKE, str(tmp_path), *methods]) == 0
    cells = {found.method: found for found in read_cells(tmp_path)}
    assert list(cells) == ["adapter", "atlas"]
    atlas = cells["atlas"]
    assert all(0 <= score <= 1 for row in atlas.matrix for score in row if score is not None)
    assert [row[0] for row in atlas.matrix] == [atlas.matrix[0][0]] * 4, "nothing is forgotten, to the bit"
    assert set(atlas.coefficients) == set(UPSTREAM)
    assert set(atlas.low_shot) == {*UPSTREAM[1:], "visual-choice", "text-class", "image-parity", "image-pairs"}
    assert atlas.cost["steps"] == cells["adapter"].cost["steps"] == 16
    assert f"Written to {tmp_path / 'report.md'}" in capsys.readouterr().out
    assert "| atlas |" in (tmp_path / "report.md").read_text()
    assert main([*SMOKE, str(tmp_path), *methods, "--low-shot", "8"]) == 2
    assert "low_shot is ['16'], not ['8']. Use another folder." in capsys.readouterr().err


def test_bad_options(settings, tmp_path, capsys):
    assert main([*SMOKE, str(tmp_path), "--methods", "nothing"]) == 2
    assert "There is no method 'nothing'; possible are sequential_ft, freeze_encoder" in capsys.readouterr().err
    assert main(["benchmark", "--seeds", "0", "--output", str(tmp_path)]) == 2
    assert "--seeds is 0; give how many, 1 or more." in capsys.readouterr().err
    assert main([*SMOKE, str(tmp_path), "--jobs", "0"]) == 2
    assert "jobs is 0; give the number of cells to measure at a time, 1 or more." in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert "There are no cells in" in capsys.readouterr().err


@pytest.mark.slow
def test_the_smoke_run_of_all_methods(settings, tmp_path):
    assert main([*SMOKE, str(tmp_path)]) == 0
    assert {found.method for found in read_cells(tmp_path)} == set(METHODS)
