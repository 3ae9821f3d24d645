"""`atlas-hf learn` in processes of its own that kill themselves (signal 9) at a numbered moment.

A moment is the beginning of a training step, a batch of an evaluation, a change of stage, a request to the Hub, or an
operation on the disk. The numbers do not depend on the speed of the machine. Imports once, then forks for each run.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

KILLED = -signal.SIGKILL


class Moments:
    """Counts the moments of a run, writes their kinds to a file, and kills the process at one of them."""

    def __init__(self, log: str, kill_at: int | None) -> None:
        self.log, self.kill_at, self.count = Path(log).open("w"), kill_at, 0

    def watch(self, owner: object, name: str, kind: str) -> None:
        original = getattr(owner, name)

        def watched(*args, **kwargs):
            if self.arrive(kind):
                half_written(kind, *args)
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(owner, name, watched)

    def arrive(self, kind: str) -> bool:
        print(kind, file=self.log, flush=True)
        self.count += 1
        return self.count - 1 == self.kill_at


def half_written(kind: str, *args) -> None:
    """A kill in the middle of a write leaves the beginning of the file."""
    if kind == "text":
        path, text = args[:2]
        path.write_bytes(text.encode()[: len(text) // 2])
    if kind == "weights":
        Path(args[1]).write_bytes(b"\x10\0\0\0\0\0\0\0{")


def run(request: dict) -> int:
    import shutil

    import peft.peft_model
    from huggingface_hub.utils import get_session
    from transformers import Trainer

    from atlas_hf import AtlasModel
    from atlas_hf.cli import main

    moments = Moments(request["log"], request["kill_at"])
    for owner, name, kind in (
        (AtlasModel, "set_stage", "stage"), (Trainer, "training_step", "step"),
        (Trainer, "prediction_step", "evaluation"), (Trainer, "_save_checkpoint", "checkpoint"),
        (peft.peft_model, "safe_save_file", "weights"), (Path, "write_text", "text"), (os, "fsync", "fsync"),
        (os, "replace", "replace"), (shutil, "rmtree", "rmtree"), (type(get_session()), "send", "request"),
    ):  # fmt: skip
        moments.watch(owner, name, kind)
    return main(request["argv"])


def serve() -> None:
    import atlas_hf.cli  # noqa: F401 (before the fork, for all)

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                os.dup2(2, 1)
                code = run(json.loads(line))
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


class Learner:
    """`run` starts `atlas-hf learn` once; `moments` are the kinds of what it came to."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process, self.log = process, log

    def run(self, argv: list[str], kill_at: int | None = None) -> int:
        request = {"argv": ["learn", *argv], "kill_at": kill_at, "log": str(self.log)}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    @property
    def moments(self) -> list[str]:
        return self.log.read_text().split()


@contextmanager
def learner(env: dict[str, str], log: Path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log.with_suffix(".err").open("w")}
    env = env | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, __file__], env=env, text=True, **pipes) as process:
        yield Learner(process, log)
        process.stdin.close()


if __name__ == "__main__":
    serve()
