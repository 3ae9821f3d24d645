"""A pushing process that is killed at any moment; then a whole push."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import atlas_hf
from shared.hub_models import QUIET, REPO, assert_exactly_once, send
from shared.hub_server import client_env

pytestmark = QUIET


# Imports once, then forks a process for each push. Stand-ins for `atlas_hf/__init__.py` and `datasets` save seconds.
PUSHER = """
import os, sys, types, unittest.mock
sys.modules["datasets"] = unittest.mock.MagicMock()
package = sys.modules["atlas_hf"] = types.ModuleType("atlas_hf")
package.__path__ = [sys.argv[1]]
from atlas_hf import hub
for folder in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            hub.push(folder.strip(), sys.argv[2])
            os._exit(0)
        finally:
            os._exit(1)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture
def pusher(hub, tmp_path):
    command = [sys.executable, "-c", PUSHER, str(Path(atlas_hf.__file__).parent), REPO]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=client_env(hub, tmp_path / "home"), **pipes) as process:
        yield process
        process.stdin.close()


def kill_at_request(hub, folder, pusher, number: int, late: bool) -> int:
    """A push whose process is killed (signal 9) at its request `number`: before that is served, which then never
    happens, or `late`, when all is done but the reply. Returns the exit code.
    """
    hub.clear()
    pid, known = [], threading.Event()

    def kill() -> None:
        known.wait(10)
        os.kill(pid[0], signal.SIGKILL)
        if not late:
            raise ConnectionResetError("the client is dead")

    hub.fault("", "call", skip=number, late=late, call=kill)
    print(folder, file=pusher.stdin, flush=True)
    pid.append(int(pusher.stdout.readline()))
    known.set()
    return int(pusher.stdout.readline())


def kill_and_run_again(hub, folder, pusher, number: int, late: bool) -> int:
    """On an empty Hub: a push killed at its request `number`, then a whole one. Returns the exit code of the first."""
    hub.store.repos.clear()
    hub.store.lfs.clear()
    code = kill_at_request(hub, folder, pusher, number, late)
    hub.clear()
    send(hub, folder)
    assert_exactly_once(hub)
    return code


def test_kill_at_ten_random_points_then_run_again(hub, folder, pusher):
    rng = random.Random(0)
    for number in rng.sample(range(30), k=10):
        assert kill_and_run_again(hub, folder, pusher, number, rng.random() < 0.5) == -9


def test_killed_again_and_again(hub, folder, pusher):
    """Each run goes on where the last one was killed, until one gets through."""
    for number in (7, 12, 9, 10):
        assert kill_at_request(hub, folder, pusher, number, late=number % 2 == 0) == -9
    hub.clear()
    send(hub, folder)
    assert_exactly_once(hub)


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_kill_at_every_request(hub, folder, pusher, late):
    codes = [kill_and_run_again(hub, folder, pusher, number, late) for number in range(40)]
    assert codes.count(-9) > 30 and codes == sorted(codes), "killed until a push has fewer requests than that"
