"""What a task costs when there are many, on ViLT-base with random weights.

    python -m atlas_hf.benchmark.speed.many_tasks

Every task reuses at most four others. Times are medians in milliseconds, in one process, on one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from transformers import ViltConfig, ViltModel

from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import AtlasConfig

REUSED, REPEATS = 4, 5
COLUMNS = {
    "tasks": "tasks", "add_ms": "add a task, ms", "set_ms": "choose a task, ms", "forward_ms": "forward pass, ms",
    "load_one_s": "load one, s", "load_all_s": "load all, s", "memory_mb": "memory, MB",
}  # fmt: skip


def spec(number: int) -> TaskSpec:
    return TaskSpec(
        f"task-{number}", "single_label_classification", image_columns=("image",), text_columns=("text",),
        label_names=("no", "yes"),
    )  # fmt: skip


def milliseconds(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def add(model: AtlasModel) -> None:
    name = len(model.tasks)
    model.add_task(spec(name), experience=[f"task-{i}" for i in range(min(name, REUSED))])
    model.set_stage(f"task-{name}", "complete")


def measure(model: AtlasModel, config: ViltConfig, tasks: int) -> dict[str, float]:
    """Fill the model up to a number of tasks; what one of them costs then."""
    while len(model.tasks) < tasks - REPEATS:
        add(model)
    found = {"add_ms": milliseconds(lambda: add(model)), "tasks": tasks}
    names = iter(model.tasks[-REPEATS:])
    found["set_ms"] = milliseconds(lambda: model.set_task(next(names)))
    model.eval()
    inputs = {
        "input_ids": torch.ones(1, 40, dtype=torch.long), "attention_mask": torch.ones(1, 40, dtype=torch.long),
        "pixel_values": torch.zeros(1, 3, 384, 384),
    }  # fmt: skip
    with torch.inference_mode():
        found["forward_ms"] = milliseconds(lambda: model(task=model.tasks[-1], **inputs))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        found |= load(Path(folder), config, model.tasks[-1:], "load_one_s")
        found |= load(Path(folder), config, None, "load_all_s")
    return found | {"memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def load(folder: Path, config: ViltConfig, tasks: list[str] | None, column: str) -> dict[str, float]:
    """Seconds beyond making the backbone."""
    model = backbone(config)
    _ = model.base_sha256  # of the backbone, which belongs to its load
    start = time.perf_counter()
    model.load_tasks(folder, tasks)
    return {column: time.perf_counter() - start}


def backbone(config: ViltConfig) -> AtlasModel:
    torch.manual_seed(0)
    return AtlasModel(ViltModel(config), config=AtlasConfig())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m atlas_hf.benchmark.speed.many_tasks", description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    config = ViltConfig()
    model, rows = backbone(config), []
    print("| " + " | ".join(COLUMNS.values()) + " |\n|" + " ---: |" * len(COLUMNS), flush=True)
    for tasks in sorted(options.tasks):
        rows.append(measure(model, config, tasks))
        cells = (f"{rows[-1][name]:,.{0 if name in ('tasks', 'memory_mb') else 1}f}" for name in COLUMNS)
        print("| " + " | ".join(cells) + " |", flush=True)
    if options.output:
        options.output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
