"""`atlas-hf benchmark-speed`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

from atlas_hf.benchmark.speed import figures, startup
from atlas_hf.benchmark.speed.compare import MEASURES, compare
from atlas_hf.benchmark.speed.ways import BACKBONES, WAYS

HELP = """Time a forward pass and the training steps of both stages against a bare backbone and the least possible.

Example:
  atlas-hf benchmark-speed --output runs/speed
  atlas-hf benchmark-speed --backbones vilt bert vit --adapters 4 16 --output runs/speed-full
  atlas-hf benchmark-speed --adapters_python other-venv/bin/python
  atlas-hf benchmark-speed --backbones vilt --batch 128 --device cuda --bf16 --ways fused full
  atlas-hf benchmark-speed --measures startup"""

STARTUP = "startup"


def main(argv: Sequence[str], measures: Sequence[str] = tuple(MEASURES)) -> None:
    """Measure, print, and write `speed.json` and `speed.md`.

    Args:
        argv: the options.
        measures: those that are measured if no option names any.
    """
    options = _parser(measures).parse_args(argv)
    about = {name: value for name, value in vars(options).items() if name not in ("output", "adapters_python")}
    torch.set_num_threads(options.threads)
    records: list[dict[str, Any]] = []
    notes: list[str] = []
    options.measures = [name for name in options.measures if name != STARTUP]
    for case in product(options.backbones, options.variants, options.adapters) if options.measures else ():
        new, reasons = compare(*case, options)
        print("\n".join([figures.table(new), *reasons]), flush=True)
        records, notes = records + new, list(dict.fromkeys([*notes, *reasons]))
    report: dict[str, Any] = {"about": about | {"torch": torch.__version__, "notes": notes}, "records": records}
    parts = [figures.table(records)] if records else []
    if STARTUP in about["measures"]:
        report[STARTUP] = startup.measure(options.repeats)
        parts.append(startup.table(report[STARTUP]))
        print(parts[-1])
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "speed.json").write_text(json.dumps(report, indent=2) + "\n")
        parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
        (options.output / "speed.md").write_text("\n\n".join(parts) + "\n")


def _parser(measures: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="atlas-hf benchmark-speed", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=["bert-4"], choices=list(BACKBONES), help="default bert-4")
    parser.add_argument("--adapters", nargs="+", type=int, default=[1, 4, 16, 64], help="numbers of reused adapters")
    parser.add_argument("--variants", nargs="+", default=["paper"], choices=["paper", "reference"])
    ways = [*WAYS[2:-1], "adapters"]
    parser.add_argument("--ways", nargs="+", default=ways, choices=[*ways, "full"], help="beside bare and floor")
    parser.add_argument("--adapters_python", help="Python of an environment with the adapters library, to measure it")
    parser.add_argument(
        "--measures", nargs="+", default=list(measures), choices=[*MEASURES, STARTUP],
        help=f"by default {', '.join(measures)}; {STARTUP}: imports and the command line",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=185, help="per example; ViT has 197 whatever is given")
    parser.add_argument("--dropout", type=float, help="of the backbone in training; by default its configuration's")
    parser.add_argument("--repeats", type=int, default=7, help="rounds, after one that is not counted")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--output", type=Path, help="folder for speed.json and speed.md")
    return parser
