"""Two processes, or several batches per step, give what one process gives with the same examples per step."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from atlas_hf import AtlasTrainingArguments

RUNNER = Path(__file__).parent / "process_runner.py"
TWO = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
       "--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1",
       "--main_process_port", "0"]  # fmt: skip


def learn(bert_folder, folder: Path, launcher: list[str], batch_size: int, accumulation: int = 1) -> list[dict]:
    """What each rank came to."""
    folder.mkdir()
    command = [sys.executable, *launcher, RUNNER, bert_folder, folder, batch_size, accumulation]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(RUNNER.parent.parent), str(RUNNER.parent)])}
    run = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]


def assert_same_training(one: Path, other: Path) -> None:
    """Loss, gradient norms and scores of every step of both stages, and the weights, to float tolerance."""
    curves = [json.loads((folder / "rank-0.json").read_text())["curves"] for folder in (one, other)]
    names = {name for entry in curves[0] for name in entry}
    assert {f"has-b/{stage}/{of}" for stage in ("experience", "expansion") for of in ("loss", "grad_norm")} <= names
    assert len(curves[0]) == len(curves[1])
    for first, second in zip(*curves, strict=True):
        assert {name: float(value) for name, value in first.items()} == pytest.approx(
            {name: float(value) for name, value in second.items()}, rel=1e-3, abs=1e-4
        )
    weights = [torch.load(folder / "rank-0.pt") for folder in (one, other)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.fixture(scope="module")
def one(bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    learn(bert_folder, folder, [], 16)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes(bert_folder, one, tmp_path):
    first, second = learn(bert_folder, tmp_path / "two", TWO, 8)
    assert first["world"] == second["world"] == 2
    assert first["digests"] == second["digests"] and first["matrix"] == second["matrix"]
    assert {"atlas.json", "results.json"} <= set(first["written"]) and first["published"] == ["has-a", "has-b"]
    assert second["written"] == second["published"] == []
    assert_same_training(one, tmp_path / "two")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulation(bert_folder, one, tmp_path, accumulation):
    learn(bert_folder, tmp_path / "many", [], 16 // accumulation, accumulation)
    assert_same_training(one, tmp_path / "many")


@pytest.mark.parametrize(
    ("given", "variable", "name"),
    [
        ({"fsdp": "full_shard"}, None, "FSDP"),
        ({"deepspeed": "zero.json"}, None, "DeepSpeed"),
        ({}, "ACCELERATE_USE_FSDP", "FSDP"),
        ({}, "ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
    ],
)
def test_sharding_is_refused_before_training(given, variable, name, monkeypatch):
    if variable:
        monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match=re.escape(f"{name} splits the model over processes")):
        AtlasTrainingArguments("unused", report_to="none", **given)
