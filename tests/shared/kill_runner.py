"""`atlas-hf` commands in processes of their own that are killed (signal 9), at a numbered moment or at any instant.

A moment is the call of one of a few functions, of a kind each: a training step, a batch of an evaluation, a request
to the Hub, an operation on the disk. Their numbers do not depend on the speed of the machine. Imports once, then forks
for each command.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

KILLED = -signal.SIGKILL


class Moments:
    """Writes the kind of every moment to a file, and kills the process at one: of all, or of all of a kind."""

    def __init__(self, log: str, number: int | None = None, kind: str | None = None, after: bool = False) -> None:
        self.left, self.kind, self.after = number, kind, after
        self.log = Path(log).open("w")  # noqa: SIM115 (until the process is killed)

    def watch(self, owner: object, name: str, kind: str) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def watched(*args, **kwargs):
            chosen = self.arrive(kind)
            if chosen and not self.after:
                half_written(kind, *args)
                os.kill(os.getpid(), signal.SIGKILL)
            value = original(*args, **kwargs)
            if chosen:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        setattr(owner, name, watched)

    def arrive(self, kind: str) -> bool:
        print(kind, file=self.log, flush=True)
        if self.left is None or self.kind not in (None, kind):
            return False
        self.left -= 1
        return self.left == -1


def half_written(kind: str, *args) -> None:
    """A kill in the middle of a write leaves the beginning of the file."""
    if kind == "text":
        path, text = args[:2]
        path.write_bytes(text.encode()[: len(text) // 2])
    if kind == "weights":
        Path(args[1]).write_bytes(b"\x10\0\0\0\0\0\0\0{")
    if kind == "state":
        Path(args[1]).write_text('{"best_')


def learn(argv: list[str], **kill) -> int:
    import shutil

    import peft.peft_model
    from huggingface_hub.utils import get_session
    from transformers import Trainer, TrainerState

    from atlas_hf import AtlasModel, cli, hub
    from atlas_hf.folder import Index
    from atlas_hf.training import sequence, trainer

    moments = Moments(**kill)
    for owner, name, kind in (
        (AtlasModel, "set_stage", "stage"), (Trainer, "training_step", "step"), (trainer, "stage_summary", "summary"),
        (Trainer, "prediction_step", "evaluation"), (Trainer, "_save_checkpoint", "checkpoint"),
        (TrainerState, "save_to_json", "state"), (peft.peft_model, "safe_save_file", "weights"),
        (sequence, "score", "score"), (sequence, "measure", "score"), (sequence, "write_results", "results"),
        (Index, "save", "index"), (sequence, "write_card", "card"), (hub, "snapshot", "snapshot"),
        (type(get_session()), "send", "request"), (Path, "write_text", "text"), (os, "fsync", "fsync"),
        (os, "replace", "replace"), (shutil, "rmtree", "rmtree"),
    ):  # fmt: skip
        moments.watch(owner, name, kind)
    return cli.main(argv)


def seconds(pid: int) -> float:
    """Processor time of a process so far."""
    with Path(f"/proc/{pid}/stat").open() as file:
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def run(cpu: float | None = None, **request) -> tuple[int, float]:
    """The exit code and the processor time, after which (`cpu`) it is killed."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.dup2(2, 1)
            code = learn(**request)
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


def serve() -> None:
    import matplotlib.backends.backend_agg  # noqa: F401 (once, not in every process)

    import atlas_hf.cli.stream_tasks
    import atlas_hf.training.sequence  # noqa: F401
    from atlas_hf.streams import digits

    digits.load("multi-first", **digits.SMOKE_SIZES)  # reads its images, once
    gc.freeze()
    for line in sys.stdin:
        print(*run(**json.loads(line)), flush=True)


class Runner:
    """`run` starts `atlas-hf` once; `moments` are the kinds of what it came to, `cpu` what it took."""

    def __init__(self, process: subprocess.Popen, folder: Path) -> None:
        self.process, self.folder, self.cpu = process, folder, 0.0

    def run(self, argv: list[str], **kill) -> int:
        request = {"argv": argv, "log": str(self.folder / "moments")} | kill
        print(json.dumps(request), file=self.process.stdin, flush=True)
        code, cpu = self.process.stdout.readline().split()
        self.cpu = float(cpu)
        assert int(code) in (0, KILLED), (self.folder / "stderr").read_text()[-2000:]
        return int(code)

    @property
    def moments(self) -> list[str]:
        return (self.folder / "moments").read_text().split()


@contextmanager
def runner(env: dict[str, str], folder: Path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": (folder / "stderr").open("w")}
    tests = str(Path(__file__).parents[1])
    env = env | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([tests, env.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, "-m", "shared.kill_runner"], env=env, text=True, **pipes) as process:
        yield Runner(process, folder)
        process.stdin.close()


if __name__ == "__main__":
    serve()
