"""Several processes, or accumulated gradients, learn what one process learns with the same global batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atlas_hf import AtlasTrainingArguments

TESTS = Path(__file__).parents[1]


ACCELERATE = ["-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", 2]
LAUNCHERS = {
    "accelerate --cpu": [*ACCELERATE, "--cpu", "--mpirun_hostfile", "{hosts}", "--main_process_port", "{port}"],
    "accelerate --multi_gpu": [*ACCELERATE, "--multi_gpu", "--main_process_port", "{port}"],
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2],
}


def environment():
    """Open MPI, installed beside Python, asks twice whether root may start it. The CPU is to be used in any case."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    allowed = dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")
    paths = {"PATH": path, "PYTHONPATH": str(TESTS)}
    return os.environ | allowed | paths | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def free_port():
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def learn(bert_folder, tmp_path_factory):
    """Learns two tasks in one process, or in two by a launcher; the folder, and what each process wrote down."""

    def run(batch_size: int, accumulation: int = 1, launcher: str | None = None):
        folder, records, hosts = (tmp_path_factory.mktemp(name) for name in ("run", "records", "hosts"))
        (hosts / "hosts.txt").write_text("localhost slots=2\n")
        values = {"hosts": hosts / "hosts.txt", "port": free_port()}
        launch = [str(word).format(**values) for word in LAUNCHERS.get(launcher, ())]
        arguments = [bert_folder, folder, records, batch_size, accumulation]
        command = [sys.executable, *launch, TESTS / "shared" / "processes_runner.py", *arguments]
        done = subprocess.run(list(map(str, command)), check=False, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        ranks = range(2 if launcher else 1)
        return folder, [json.loads((records / f"{rank}.json").read_text()) for rank in ranks]

    return run


@pytest.fixture(scope="module")
def one(learn):
    return learn(16)


def curve(record, name):
    """The logged values of this name, in order, with task and stage."""
    return [(entry["task"], entry["stage"], entry[name]) for entry in record["logs"] if name in entry]


def assert_same_learning(folder, record, expected_folder, expected):
    """Not compared is the loss of an evaluation: Trainer counts the last batch in full, even if it is not."""
    for name in ("loss", "grad_norm", "eval_accuracy"):
        found, wanted = curve(record, name), curve(expected, name)
        assert [entry[:2] for entry in found] == [entry[:2] for entry in wanted]
        assert {stage for _, stage, _ in found} == {"experience", "expansion"}
        assert [entry[2] for entry in found] == pytest.approx([entry[2] for entry in wanted], rel=1e-4, abs=1e-5)
    for row, wanted in zip(record["matrix"], expected["matrix"], strict=True):
        assert row == pytest.approx(wanted)
    for task in ("has-a", "has-b"):
        wanted = load_file(expected_folder / task / "adapter_model.safetensors")
        for name, tensor in load_file(folder / task / "adapter_model.safetensors").items():
            torch.testing.assert_close(tensor, wanted[name], rtol=1e-3, atol=2e-5, msg=f"{task}: {name}")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_learn_what_one_learns(learn, one, launcher):
    folder, (first, second) = learn(8, launcher=launcher)
    assert first["state"] == second["state"], "the processes must agree bit for bit"
    assert first["matrix"] == second["matrix"]
    assert_same_learning(folder, first, one[0], one[1][0])
    assert first["pushed"] == ["user/texts"] * 2 and second["pushed"] == []
    assert first["written"] and not second["written"], "only the first process writes"


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulated_gradients_are_those_of_the_whole_batch(learn, one, accumulation):
    folder, (record,) = learn(16 // accumulation, accumulation)
    assert_same_learning(folder, record, one[0], one[1][0])


@pytest.mark.parametrize(
    ("options", "variable", "text"),
    [
        ({"fsdp": "full_shard"}, None, "FSDP"),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, None, "DeepSpeed"),
        ({}, "ACCELERATE_USE_FSDP", "FSDP"),
        ({}, "ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
    ],
)
def test_sharded_training_is_refused(tmp_path, monkeypatch, options, variable, text):
    if variable:
        monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match=f"{text} was asked for.*would be cut up.*accelerate launch --multi_gpu"):
        AtlasTrainingArguments(output_dir=str(tmp_path), **options)
