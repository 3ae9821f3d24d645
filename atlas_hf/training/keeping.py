"""A finished task on the disk: its results, its weights, its line in `atlas.json`."""

from __future__ import annotations

import shutil
from pathlib import Path

from atlas_hf.folder import CHECKPOINTS, Results
from atlas_hf.model import AtlasModel
from atlas_hf.report.pictures import draw_results


def keep(model: AtlasModel, task: str, results: Results, folder: Path) -> None:
    """Save a task; it counts as learned from the moment that `atlas.json` names it, which is written last.

    Args:
        model: holds the task, learned.
        task: its name.
        results: of all tasks, this one included.
        folder: holds all other tasks of the model.
    """
    write_results(results, folder)
    model.save_pretrained(folder, tasks=[task])
    _drop_checkpoints(folder, task)


def keep_again(model: AtlasModel, results: Results, folder: Path) -> None:
    """What a process may have left undone that was killed after it had saved the last task."""
    for task in model.tasks:
        _drop_checkpoints(folder, task)
    write_results(results, folder)


def write_results(results: Results, folder: Path) -> None:
    """`results.json`, and the pictures of it."""
    results.save(folder)
    draw_results(results, folder)


def _drop_checkpoints(folder: Path, task: str) -> None:
    """Nothing will go on from those of a task that is learned."""
    shutil.rmtree(folder / CHECKPOINTS / task, ignore_errors=True)
