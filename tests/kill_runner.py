"""A program that imports once and then runs `atlas-hf` commands in forked processes, each killed (signal 9) or not.

A line of standard input is {"argv": [...]} with, for a kill, either "cpu": after as many seconds of processor time, or
"function": a dotted name, at whose call "number" (from 0) the process kills itself, before it or "after" it.
For each line its exit code and processor time are printed.
"""

import gc
import json
import os
import pydoc
import signal
import sys
import time
from functools import wraps

import matplotlib.backends.backend_agg  # noqa: F401 (once, not in every process)

from atlas_hf.cli import main
from atlas_hf.streams import digits


def kill_at(function: str, number: int = 0, after: bool = False) -> None:
    owner, name = function.rsplit(".", 1)
    owner = pydoc.locate(owner)
    whole, left = getattr(owner, name), [number]

    @wraps(whole)
    def killing(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        value = whole(*args, **kwargs)
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    setattr(owner, name, killing)


def seconds(pid: int) -> float:
    """Processor time of a process so far."""
    with open(f"/proc/{pid}/stat") as file:
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def run(argv: list[str], cpu: float | None = None, **kill) -> tuple[int, float]:
    pid = os.fork()
    if pid == 0:
        os.dup2(2, 1)
        code = 70
        try:
            if kill:
                kill_at(**kill)
            code = main(argv)
        finally:
            os._exit(code)
    while True:
        used = seconds(pid)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), used
        if cpu is not None and used >= cpu:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.003)


if __name__ == "__main__":
    digits.load("multi-first", **digits.SMOKE_SIZES)  # reads its images, once
    gc.freeze()
    for line in sys.stdin:
        print(*run(**json.loads(line)), flush=True)
