"""Measure the cells of a plan, several at a time, each in a process of its own; a finished cell is never run again.

<output>/failed/   what the process of a failed cell printed, its traceback included
<output>/.running/ what a process printed so far, and a lock per cell, which the system releases when the process ends
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm
from transformers.utils import logging

from atlas_hf.benchmark.learning.cells import Cell, Key, check_settings
from atlas_hf.benchmark.learning.plan import Plan
from atlas_hf.benchmark.learning.protocol import measure
from atlas_hf.benchmark.methods import LoadedTask
from atlas_hf.folder import Owned, refuse_links

POLL = 0.5  # seconds between two looks at what another run has finished


@dataclass(frozen=True)
class Done:
    """What a run's processes brought about (or, at the same moment, another's), and where it says why some failed."""

    measured: list[Key] = field(default_factory=list)
    failed: dict[Key, Path] = field(default_factory=dict)


def run(plan: Plan, output: Path, jobs: int = 1, progress: bool = True) -> Done:
    """Measure every cell of the plan that is not there yet, `jobs` cells at a time, each on one thread.

    Several runs may work on one folder: each cell is measured by one of them, and each returns when all are there. A
    failed cell stops no other; the next run tries it again. Raises a `CellError` if a file is no cell, or one of other
    settings, and a `ValueError` if `jobs` is not 1 or more.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; give the number of cells to measure at a time, 1 or more.")
    pending = [key for key in plan.keys if not finished(plan, key, output)]
    with tqdm(total=len(plan.keys), initial=len(plan.keys) - len(pending), unit="cell", disable=not progress) as bar:
        return _measure(plan, output, jobs, bar, pending) if pending else Done()


def finished(plan: Plan, key: Key, output: Path) -> bool:
    """Is the cell there? Raises `CellError` if it is one of other settings."""
    refuse_links(key.path(output), output)
    there = key.path(output).is_file()
    if there:
        check_settings(Cell.read(key.path(output)), plan.stream, plan.settings, output)
    return there


def _measure(plan: Plan, output: Path, jobs: int, bar: tqdm[Any], pending: list[Key]) -> Done:
    """Until every pending cell is there, by any run, or has failed. Not a `ProcessPoolExecutor`: in it, one process
    that is killed takes all other cells with it.
    """
    _begin(output)
    upstream, downstream = plan.load()
    # Forked from a process that has only imported: quick to start, and its peak memory is the cell's own.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    done, running = Done(), dict[Key, BaseProcess]()
    try:
        while pending or running:
            for key in [key for key in pending if finished(plan, key, output)]:  # by another run
                pending.remove(key)
                bar.update()
            free = (key for key in pending.copy() if _is_free(FileLock(_lock(output, key), blocking=False)))
            for key in islice(free, jobs - len(running)):
                process: BaseProcess = context.Process(target=work, args=(plan, key, upstream, downstream, output))
                process.start()
                running[key] = process
                pending.remove(key)
                bar.set_postfix_str("running " + ", ".join(map(str, running)))
            wait([process.sentinel for process in running.values()], POLL)
            for key in [key for key, process in running.items() if process.exitcode is not None]:
                if kept := _keep_if_failed(output, key, running.pop(key)):
                    done.failed[key] = kept
                    bar.write(f"failed: {key}, see {kept}")
                else:
                    done.measured.append(key)
                bar.update()
    finally:
        for process in running.values():
            process.terminate()
            process.join()
    return done


def _begin(output: Path) -> None:
    """Raise a `ValueError` if something that is not ours is where logs and cells go; a list of what is ours."""
    folders = [output / name for name in ("cells", "failed", ".running")]
    owned = Owned(output)
    owned.check(folders)
    for folder in folders:
        owned.make_folder(folder)


def _keep_if_failed(output: Path, key: Key, process: BaseProcess) -> Path | None:
    """Where what a failed process printed is kept; None for one that measured its cell."""
    log = _log(output, key, process.pid)
    kept = output / "failed" / f"{str(key).replace('/', '-')}.txt"
    owned = Owned(output)
    if process.exitcode == 0:
        owned.remove(kept)
    else:
        with owned.replacing(kept) as temporary:
            text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
            end = f"{key}: the process ended with exit code {process.exitcode}\n"
            temporary.write_text(text + end, encoding="utf-8")
    owned.take_in([log])
    owned.remove(log)
    return kept if process.exitcode else None


def work(plan: Plan, key: Key, upstream: Sequence[LoadedTask], downstream: Sequence[LoadedTask], output: Path) -> None:
    """The process of one cell: what it prints goes to a file, which stays if the process fails."""
    with _log(output, key, os.getpid()).open("w", encoding="utf-8") as file, FileLock(_lock(output, key)):
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        logging.disable_progress_bar()
        gc.freeze()  # Trainer collects garbage after every training: not again through all that was imported
        if not finished(plan, key, output):  # another run may have been quicker
            measure(plan, key, plan.in_order(upstream, key.order), downstream).write(output)


def _lock(output: Path, key: Key) -> Path:
    path = output / ".running" / f"{key}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _log(output: Path, key: Key, pid: int | None) -> Path:
    return _lock(output, key).with_suffix(f".{pid}.txt")


def _is_free(lock: FileLock) -> bool:
    try:
        with lock:
            return True
    except Timeout:
        return False
