"""What a task costs when there are many, on ViLT-base with random weights.

    python -m atlas_hf.benchmark.speed.many_tasks

Every task reuses at most four others. Times are medians in milliseconds, in one process, on one thread.
"""

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

from atlas_hf.benchmark.speed.ways import two_labels
from atlas_hf.folder import Owned
from atlas_hf.model import AtlasModel
from atlas_hf.report.text import markdown
from atlas_hf.tuner import AtlasConfig

REUSED, REPEATS = 4, 5
COLUMNS = {
    "tasks": "tasks", "add_ms": "add a task, ms", "set_ms": "choose a task, ms", "forward_ms": "forward pass, ms",
    "load_one_s": "load one, s", "load_all_s": "load all, s", "memory_mb": "memory, MB",
}  # fmt: skip


def milliseconds(call: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median of its times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def add(model: AtlasModel) -> None:
    """One task more, learned."""
    number = len(model.tasks)
    spec = two_labels(f"task-{number}", image_columns=("image",), text_columns=("text",))
    model.add_task(spec, experience=[f"task-{i}" for i in range(min(number, REUSED))])
    model.set_stage(spec.name, "complete")


def measure(model: AtlasModel, config: ViltConfig, tasks: int) -> dict[str, float]:
    """Fill the model up to a number of tasks; what one of them costs then."""
    while len(model.tasks) < tasks - REPEATS:
        add(model)
    found = {"add_ms": milliseconds(lambda: add(model)), "tasks": tasks}
    names = iter(model.tasks[-REPEATS:])
    found["set_ms"] = milliseconds(lambda: model.set_task(next(names)))
    model.eval()
    inputs = {name: torch.ones(1, 40, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    inputs["pixel_values"] = torch.zeros(1, 3, 384, 384)
    with torch.inference_mode():
        found["forward_ms"] = milliseconds(lambda: model(task=model.tasks[-1], **inputs))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        found["load_one_s"] = load(folder, config, model.tasks[-1:])
        found["load_all_s"] = load(folder, config, None)
    return found | {"memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def load(folder: str, config: ViltConfig, tasks: list[str] | None) -> float:
    """Seconds beyond making the backbone."""
    model = backbone(config)
    digest = milliseconds(lambda: model.base_sha256, repeats=1)  # of the backbone, which belongs to its load
    return (milliseconds(lambda: model.load_tasks(folder, tasks), repeats=1) - digest) / 1e3


def backbone(config: ViltConfig) -> AtlasModel:
    """ViLT, without tasks."""
    torch.manual_seed(0)
    return AtlasModel(ViltModel(config), config=AtlasConfig())


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a row per number of tasks."""
    parser = argparse.ArgumentParser(prog="python -m atlas_hf.benchmark.speed.many_tasks", description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    config = ViltConfig()
    model, rows = backbone(config), []
    for tasks in sorted(options.tasks):
        rows.append(measure(model, config, tasks))
        cells = [f"{rows[-1][name]:,.{0 if name in ('tasks', 'memory_mb') else 1}f}" for name in COLUMNS]
        lines = markdown(list(COLUMNS.values()), [cells], words=0).splitlines()
        print("\n".join(lines if len(rows) == 1 else lines[-1:]), flush=True)
    if options.output:
        with Owned(options.output.parent).replacing(options.output) as temporary:
            temporary.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
