"""Does a task need all of its inputs? Each task of a stream is learned alone, and without its image or its text.

    python -m atlas_hf.benchmark.learning.shortcuts --output runs/shortcuts

A task without its image is the same task with another `TaskSpec`, so that nothing but the input differs.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from atlas_hf import streams
from atlas_hf.folder import Owned
from atlas_hf.model import AtlasModel
from atlas_hf.report.text import table
from atlas_hf.tasks import TaskSpec
from atlas_hf.training import AtlasTrainingArguments, learn_sequence
from atlas_hf.tuner import AtlasConfig

COLUMNS = ("alone", "text-only", "image-only")


def variants(spec: TaskSpec) -> dict[str, TaskSpec]:
    """The task, and what is left of a multi-modal one without its images and without its text.

    Choices are not taken away: identical ones cannot be told apart, so that would be at chance by construction.
    """
    found = {"alone": spec}
    if spec.modality == "multi-modal":
        kind = "single_label_classification" if spec.problem_type == "image_pair" else spec.problem_type
        found["text-only"] = replace(spec, image_columns=(), problem_type=kind)
        if not spec.choices_column:
            found["image-only"] = replace(spec, text_columns=())
    return found


def measure(stream: streams.Stream, output: Path, seeds: Sequence[int], smoke: bool) -> list[dict[str, Any]]:
    """Test scores, a list (one per seed) per task and variant; models go to folders of `output`, records to a file."""
    training = stream.TRAINING | (stream.SMOKE_TRAINING if smoke else {})
    sizes: dict[str, Any] = stream.SMOKE_SIZES if smoke else stream.SIZES
    records = []
    for spec, data in [*stream.load(**sizes), *stream.load_downstream(**sizes)]:
        record: dict[str, Any] = {"task": spec.name, "chance": spec.random_baseline}
        for name, changed in variants(spec).items():
            record[name] = []
            for seed in seeds:
                folder = output / spec.name / name / str(seed)
                config = AtlasConfig(r=stream.WIDTH, pooling=stream.POOLING)
                model = AtlasModel.from_pretrained(stream.BACKBONE_ID, config=config)
                args = AtlasTrainingArguments(str(folder), seed=seed, report_to="none", disable_tqdm=True, **training)
                record[name].append(learn_sequence(model, [(changed, data)], args, folder)["matrix"][0][0])
        records.append(record)
        Owned(output).write_json(output / "shortcuts.json", {"records": records})
    return records


def _cell(scores: Sequence[float] | None) -> str:
    if not scores:
        return "-"
    spread = f" ({min(scores):.3f}-{max(scores):.3f})" if len(scores) > 1 else ""
    return f"{sum(scores) / len(scores):.3f}{spread}"


def main() -> None:
    """The command: measure, and print a row per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", default="digits", help=f"one of: {', '.join(streams.STREAMS)}")
    parser.add_argument("--output", type=Path, required=True, help="folder; run again to go on with it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    options = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    stream = streams.get(options.stream)
    torch.set_num_threads(stream.THREADS)
    records = measure(stream, options.output, options.seeds, options.smoke)
    rows = [[r["task"], f"{r['chance']:.3f}", *(_cell(r.get(name)) for name in COLUMNS)] for r in records]
    print(table(["task", "chance", *COLUMNS], rows))


if __name__ == "__main__":
    main()
