"""The `adapters` library in the benchmark of speed: the process that measures it, and what it says where it cannot.

The library itself is measured where ADAPTERS_PYTHON names the interpreter of an environment that has it.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

from atlas_hf.benchmark.speed import adapters_worker
from atlas_hf.benchmark.speed import run as speed
from atlas_hf.benchmark.speed import ways as speed_ways

TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
OPTIONS = ["--backbones", "bert", "--batch", "4", "--tokens", "6", "--repeats", "2", "--ways", "adapters"]
PYTHON = os.environ.get("ADAPTERS_PYTHON")
with_the_library = pytest.mark.skipif(not PYTHON, reason="ADAPTERS_PYTHON names no environment with `adapters`")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    def config(**changes):
        return transformers.BertConfig(vocab_size=1000, **TINY, **changes)

    monkeypatch.setitem(speed_ways.BACKBONES, "bert", (config, speed_ways.TEXT))


def answers(*requests):
    written = io.StringIO()
    adapters_worker.serve(map(json.dumps, requests), written)
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_bad_requests_are_answered_and_the_next_ones_too():
    build = {"call": "build", "config": {}, "adapters": 2, "width": 4, "shapes": {}}
    found = [answer["error"] for answer in answers({"call": "step"}, {}, build, {"call": "forward"})]
    assert found[0] == "'step' before 'build'; send that first."
    assert found[1] == "None before 'build'; send that first."
    assert "missing 1 required positional argument: 'threads'" in found[2]
    assert found[3] == "'forward' before 'build'; send that first."


@pytest.mark.parametrize(
    ("python", "reason"),
    [
        (sys.executable, "No module named 'adapters'"),
        ("no/such/python", r"no/such/python cannot be started (No such file or directory); give a Python interpreter"),
        ("false", "the process ended with status 1; its message is above"),
    ],
)
def test_an_environment_that_will_not_do_is_one_line(python, reason, capfd):
    speed.main([*OPTIONS, "--adapters", "2", "--measures", "forward", "--adapters_python", python])
    text = capfd.readouterr().out
    assert f"adapters on bert: not measured ({reason})" in text
    assert "| floor |" in text and "| adapters |" not in text


def test_it_is_measured_in_float32_only(capsys):
    options = ["--adapters", "2", "--measures", "forward", "--bf16", "--device", "cpu", "--adapters_python", "python"]
    speed.main([*OPTIONS, *options])
    assert "adapters on bert: not measured (on the CPU and without --bf16 only)" in capsys.readouterr().out


@with_the_library
def test_the_library_takes_its_turns(tmp_path, capsys):
    speed.main([*OPTIONS, "--adapters", "1", "2", "--adapters_python", PYTHON, "--output", str(tmp_path)])
    report = json.loads((tmp_path / "speed.json").read_text())
    found = [record for record in report["records"] if record["way"] == "adapters"]
    assert [(r["adapters"], r["measure"]) for r in found] == [(2, "forward"), (2, "experience")]
    assert all(len(r["seconds"]) == 2 and min(r["seconds"]) > 0 for r in found)
    assert found[0]["peak_bytes"] is None and found[1]["peak_bytes"] > 4 * 6 * 32 * 4, "more than one (B, L, D)"
    first, second = report["about"]["notes"]
    assert "there are 1 adapters; AdapterFusion is of two or more" in first
    assert second.startswith("adapters on bert: adapters ") and "transformers 4." in second


@with_the_library
def test_the_library_computes_what_is_said_of_it():
    """Two adapters of the width at both sites of the layer; the fusion and the head train, and nothing else."""
    code = f"""
import runpy
worker = runpy.run_path({adapters_worker.__file__!r})
fusion = worker["Fusion"](
    dict(model_type="bert", vocab_size=1000, **{TINY}), adapters=2, width=4, shapes=dict(input_ids=[4, 6]), threads=1
)
down = [p.shape for n, p in fusion.model.named_parameters() if n.endswith("adapter_down.0.weight")]
assert len(down) == 4 and all(tuple(shape) == (4, 32) for shape in down), down
fusion.model.zero_grad = fusion.head.zero_grad = lambda: None
fusion.step()
moved = [n for n, p in fusion.model.named_parameters() if p.grad is not None]
assert moved and all(".adapter_fusion_layer." in n for n in moved), moved
assert len({{n.split(".adapter_fusion_layer")[0] for n in moved}}) == 2, moved
assert all(p.grad is not None for p in fusion.head.parameters())
"""
    subprocess.run([PYTHON, "-I", "-c", code], check=True)


def test_the_worker_knows_nothing_of_the_package():
    text = Path(adapters_worker.__file__).read_text()
    assert "atlas_hf." not in text and "import atlas_hf" not in text
    assert adapters_worker.peak_bytes(lambda: torch.ones(2**20), torch.device("cpu")) == pytest.approx(2**22, rel=0.01)
