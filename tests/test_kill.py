"""`atlas-hf learn`, killed at any moment and started again, ends with the bytes of a run that was never killed."""

import hashlib
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hub_models import QUIET
from hub_server import HubServer, client_env

TESTS = Path(__file__).parent
LEARN = ["learn", "--stream", "digits", "--smoke", "--threads", "1"]
SHORT = ["--tasks", "entailment", "text-choice", "--train_size", "32"]
REPO = "user/digits"
pytestmark = [QUIET, pytest.mark.skipif(sys.platform != "linux", reason="reads processor times from /proc")]


@pytest.fixture(scope="module")
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def learn(hub, tmp_path_factory):
    """Runs `atlas-hf learn`, killed or not; the exit code and the processor time."""
    env = client_env(hub, tmp_path_factory.mktemp("home")) | {"OMP_NUM_THREADS": "1"}
    log = (tmp_path_factory.mktemp("log") / "stderr.txt").open("w+")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "text": True}
    with subprocess.Popen([sys.executable, str(TESTS / "kill_runner.py")], env=env, **pipes) as process:

        def run(folder, *options, **kill):
            argv = [*LEARN, *options, "--output", str(folder)]
            print(json.dumps({"argv": argv} | kill), file=process.stdin, flush=True)
            code, cpu = process.stdout.readline().split()
            if code not in ("0", "-9"):
                log.seek(0)
                pytest.fail(f"{argv} ended with {code}: {log.read()[-2000:]}")
            return int(code), float(cpu)

        yield run
        process.stdin.close()


def without_times(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name == "README.md":
        return re.sub(rb"\b[\d,]+\.\d s\b", b"... s", content)
    if path.name == "results.json":
        results = json.loads(content)
        for task in results["tasks"]:
            del task["timing"]
        return json.dumps(results).encode()
    return content


def digests(folder):
    """Every file that is there, by its path: a left-over of a killed run is a difference."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(without_times(path)).hexdigest() for path in files}


@pytest.fixture(scope="module")
def short(learn, tmp_path_factory):
    """Two tasks, never interrupted."""
    folder = tmp_path_factory.mktemp("short") / "run"
    assert learn(folder, *SHORT)[0] == 0
    return digests(folder)


STEP = "atlas_hf.trainer.AtlasTrainer.training_step"
REPLACE = "os.replace"
MOMENTS = {
    "stage 2 of the first task": {"function": STEP, "number": 0},
    "stage 1 of the second task": {"function": STEP, "number": 1},
    "between the stages": {"function": "atlas_hf.trainer.AtlasTrainer._summary", "number": 1, "after": True},
    "stage 2 of the second task": {"function": STEP, "number": 2},
    "in evaluation": {"function": "atlas_hf.trainer.AtlasTrainer.prediction_step", "number": 2},
    "in a checkpoint": {"function": "transformers.TrainerState.save_to_json", "number": 1},
    "in the matrix": {"function": "atlas_hf.sequence._score", "number": 2},
    "before the results": {"function": "atlas_hf.sequence.write_results", "number": 0},
    "before the index": {"function": "atlas_hf.storage.Index.save", "number": 0},
    "after the index": {"function": "atlas_hf.storage.Index.save", "number": 1, "after": True},
    "before the card": {"function": "atlas_hf.sequence.write_card", "number": 1},
    "before the snapshot": {"function": "atlas_hf.hub.snapshot", "number": 1},
}


def test_killed_again_and_again(learn, short, tmp_path):
    for moment in ("between the stages", "before the index"):
        kill = MOMENTS[moment]
        assert learn(tmp_path / "run", *SHORT, **kill)[0] == -9, f"'{moment}' was never reached"
    assert learn(tmp_path / "run", *SHORT)[0] == 0
    assert digests(tmp_path / "run") == short


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_moment(learn, short, tmp_path, moment):
    assert learn(tmp_path / "run", *SHORT, **MOMENTS[moment])[0] == -9, "the moment was never reached"
    assert learn(tmp_path / "run", *SHORT)[0] == 0
    assert digests(tmp_path / "run") == short


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_write(learn, short, tmp_path, after):
    """A chain: killed at its first write, started again and killed at its second, and so on until it gets through."""
    code, number = -9, 0
    while code == -9:
        code, _ = learn(tmp_path / "run", *SHORT, function=REPLACE, number=number, after=after)
        number += 1
    assert number > 10
    assert digests(tmp_path / "run") == short


@pytest.mark.slow
def test_killed_at_twenty_random_points(learn, tmp_path):
    """The whole smoke stream: five runs, each killed four times, at seeded shares of its processor time."""
    _, cpu = learn(tmp_path / "whole" / "run")
    whole, rng, killed = digests(tmp_path / "whole" / "run"), random.Random(0), 0
    for number in range(5):
        folder = tmp_path / str(number) / "run"
        for _ in range(4):
            killed += learn(folder, cpu=rng.uniform(0, cpu * 0.6))[0] == -9
        learn(folder)
        assert digests(folder) == whole
    assert killed >= 15, "the others were done before their time came"
