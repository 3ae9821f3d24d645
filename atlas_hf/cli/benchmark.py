"""`atlas-hf benchmark`."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from atlas_hf.cli import report
from atlas_hf.cli.commands import STREAMS, check_names, command_parser

if TYPE_CHECKING:
    from atlas_hf.benchmark.learning import Plan

HELP = """Example:
  atlas-hf benchmark --output runs/benchmark
  atlas-hf benchmark --stream digits --order multi-first mono-first --seeds 5 --low-shot 16 64 256 full \\
      --output runs/benchmark-full
  atlas-hf benchmark --smoke --output runs/benchmark-smoke

Run again with the same folder, it measures only what is missing."""

# The names of `atlas_hf.benchmark.methods.METHODS`, which takes long to import.
METHODS = (
    "sequential_ft", "freeze_encoder", "head_alone", "linear_probe", "freeze_bottom", "fine_tuned", "adapter",
    "adapter_two_stage", "adapter_head_first", "adapter_copy", "fusion", "lora", "lora_head_first", "ewc", "lwf",
    "experience_replay", "joint", "atlas", "atlas_paper", "atlas_reference",
)  # fmt: skip
LOW_SHOT_METHODS = (
    "head_alone", "linear_probe", "fine_tuned", "adapter", "adapter_two_stage", "adapter_head_first", "adapter_copy",
    "fusion", "lora_head_first", "atlas",
)  # fmt: skip
SEEDS, OTHER_SEEDS = 5, 1
SEEDS_HELP = f"{SEEDS} of the methods with low-shot sizes, {OTHER_SEEDS} of the others"

parser = command_parser("benchmark", HELP)
parser.add_argument("--stream", default="digits", help=f"one of: {', '.join(STREAMS)}")
parser.add_argument("--backbone", help="folder or Hub id; by default the stream's own")
parser.add_argument("--order", nargs="+", help="orders of the stream; by default all")
parser.add_argument("--methods", nargs="+", help=f"by default all: {', '.join(METHODS)}")
parser.add_argument("--seeds", type=int, metavar="N", help=f"seeds 0 to N - 1; by default {SEEDS_HELP}")
parser.add_argument("--low-shot", nargs="*", metavar="N", help="examples, or full; by default the stream's")
parser.add_argument("--low-shot-methods", nargs="*", help=f"by default {', '.join(LOW_SHOT_METHODS)}")
parser.add_argument("--output", type=Path, required=True, help="folder of the cells and the report")
parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cells at a time, by default one per CPU")
parser.add_argument("--smoke", action="store_true", help="one order, seed and low-shot size, tiny; learns nothing")
parser.add_argument("--push-to", metavar="REPO", help="push the results to this data set repository")


def parse(argv: list[str]) -> Namespace:
    """The options, checked."""
    options = parser.parse_args(argv)
    check_names("stream", [options.stream], STREAMS)
    if options.seeds is not None and options.seeds < 1:
        raise ValueError(f"--seeds is {options.seeds}; give how many, 1 or more.")
    check_names("method", options.methods or (), METHODS)
    check_names("order", options.order or (), STREAMS[options.stream])
    return options


def run(options: Namespace) -> None:
    """Exits with status 1 if a cell failed, 130 if it was interrupted."""
    from atlas_hf.benchmark.learning import run as run_cells
    from atlas_hf.hub import ensure_writable_repo

    plan = make_plan(options)
    if options.push_to:  # asked before hours of training, not after them
        ensure_writable_repo(options.push_to, repo_type="dataset")
    try:
        done = run_cells(plan, options.output, options.jobs)
    except KeyboardInterrupt:
        print("\natlas-hf benchmark: stopped. Finished cells stay; run again to go on.", file=sys.stderr)
        sys.exit(130)
    if len(done.failed) < len(plan.keys):
        report.run(options)
    if done.failed:
        listed = "".join(f"\n  {key}: {log}" for key, log in done.failed.items())
        sys.exit(f"atlas-hf benchmark: {len(done.failed)} cells failed; run again to try them again.{listed}")


def make_plan(options: Namespace) -> Plan:
    """The plan of the options; what they leave open is the stream's own, or tiny for a smoke run."""
    from atlas_hf import streams
    from atlas_hf.benchmark import methods
    from atlas_hf.benchmark.learning import Plan

    stream, smoke = streams.get(options.stream), options.smoke
    low_shot = [str(size) for size in stream.LOW_SHOT_SIZES][: 1 if smoke else None]
    low_shot = low_shot if options.low_shot is None else options.low_shot
    steps = {"max_steps": 2, "experience_max_steps": 2} if smoke else {}
    return Plan(
        stream=options.stream,
        orders=options.order or list(stream.ORDERS)[: 1 if smoke else None],
        methods={name: methods.METHODS[name] for name in options.methods or METHODS},
        seeds=range(1 if smoke else options.seeds or SEEDS),
        other_seeds=range(options.seeds or OTHER_SEEDS),
        low_shot=sorted(set(low_shot), key=lambda size: (len(size), size)),  # by number, and full
        sizes=stream.SMOKE_SIZES if smoke else stream.BENCHMARK_SIZES,
        training=stream.BENCHMARK_TRAINING | steps,
        low_shot_training=stream.LOW_SHOT_TRAINING | steps,
        width=stream.WIDTH,
        backbone=options.backbone or stream.BACKBONE_ID,
        pooling=stream.POOLING,
        low_shot_methods=LOW_SHOT_METHODS if options.low_shot_methods is None else options.low_shot_methods,
    )
