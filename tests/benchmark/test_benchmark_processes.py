"""The processes of a benchmark: failing ones, killed ones, a run that is killed, and two runs in one folder."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from atlas_hf.benchmark.learning.cells import Key, read_cells
from atlas_hf.benchmark.learning.run import run
from shared.benchmark_standins import STANDINS, calls, make_plan
from shared.comparing import file_digests

TESTS = Path(__file__).parents[1]
SOME = {name: STANDINS[name] for name in ("reuser", "alone")}


def test_a_failing_cell_does_not_stop_the_others(tmp_path):
    plan = make_plan(tmp_path, methods=SOME, low_shot=[])
    trap = tmp_path / "backbone" / "fail"
    trap.write_text("reuser")
    done = run(plan, tmp_path, progress=False)
    assert done.measured == [Key("alone", "any", 0)] and list(done.failed) == [Key("reuser", "multi-first", 0)]
    (log,) = done.failed.values()
    assert log == tmp_path / "failed" / "reuser-multi-first-seed-0.txt"
    text = log.read_text()
    assert "Traceback" in text and "RuntimeError: this stand-in was told to fail" in text
    assert text.endswith("reuser/multi-first/seed-0: the process ended with exit code 1\n")
    trap.unlink()
    assert run(plan, tmp_path, progress=False).measured == [Key("reuser", "multi-first", 0)]
    assert not list((tmp_path / "failed").iterdir()), "what it printed is of no use any more"


def test_a_killed_process_does_not_stop_the_others(tmp_path):
    plan = make_plan(tmp_path, methods=SOME, low_shot=[])
    (tmp_path / "backbone" / "die").write_text("reuser")
    done = run(plan, tmp_path, progress=False)
    assert done.measured == [Key("alone", "any", 0)]
    (log,) = done.failed.values()
    assert log.read_text().endswith("reuser/multi-first/seed-0: the process ended with exit code -9\n")


def test_two_runs_share_the_work(tmp_path):
    plan = make_plan(tmp_path, seeds=[0, 1], methods=SOME, low_shot=[])
    context = get_context("forkserver")
    context.set_forkserver_preload(["atlas_hf.benchmark.learning.run"])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        both = list(pool.map(run, [plan] * 2, [tmp_path] * 2, [1] * 2, [False] * 2))
    measured = [key for done in both for key in done.measured]
    assert not any(done.failed for done in both)
    assert set(measured) == set(plan.keys) == {found.key for found in read_cells(tmp_path)}
    assert len(calls(tmp_path)) == len(set(calls(tmp_path))) == 4 * len(plan.keys), "nothing was learned twice"


KILLED = """
import sys
from pathlib import Path
from shared.benchmark_standins import Alone, Reuser, make_plan
from atlas_hf.benchmark.learning.run import run

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    run(make_plan(folder, methods={"reuser": Reuser, "alone": Alone}, low_shot=[]), folder, jobs=2, progress=False)
"""


def wait_for(path):
    start = time.monotonic()
    while not list(path.parent.glob(path.name)):
        assert time.monotonic() - start < 240, f"{path} did not come"
        time.sleep(0.05)


def wait_for_process(folder):
    """Of the slow cell: its lock is taken before, its output only once it runs (an interrupt while it is being started
    would also end the server that starts processes, which the next test uses).
    """
    wait_for(folder / ".running" / "alone" / "any" / "seed-0.*.txt")


def test_a_killed_run_goes_on(tmp_path):
    plan = make_plan(tmp_path, methods=SOME, low_shot=[])
    first, second = (key.path(tmp_path) for key in plan.keys)
    trap = tmp_path / "backbone" / "slow"
    trap.write_text("alone")
    (tmp_path / "killed.py").write_text(KILLED)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path)]
    with subprocess.Popen(command, env=env, start_new_session=True) as process:
        wait_for(first)
        wait_for_process(tmp_path)
        os.killpg(process.pid, signal.SIGKILL)  # the run and the process of the slow cell
    before, log = file_digests(tmp_path / "cells"), calls(tmp_path)
    assert first.exists() and not second.exists() and len(before) == 1
    trap.unlink()
    assert run(plan, tmp_path, progress=False).measured == [Key("alone", "any", 0)]
    assert file_digests(tmp_path / "cells").items() > before.items() and second.exists()
    assert {line.split()[0] for line in calls(tmp_path)[len(log) :]} == {"alone"}


@pytest.fixture
def interruptible():
    """A shell starts what runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_leaves_finished_cells(interruptible, tmp_path):
    plan = make_plan(tmp_path, methods=SOME, low_shot=[])
    (tmp_path / "backbone" / "slow").write_text("alone")

    def interrupt():
        wait_for(Key("reuser", "multi-first", 0).path(tmp_path))
        wait_for_process(tmp_path)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path, progress=False)
    assert [found.key for found in read_cells(tmp_path)] == [Key("reuser", "multi-first", 0)]
