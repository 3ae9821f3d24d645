"""What `atlas-hf benchmark-speed` does."""

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

from atlas_hf.benchmark.speed import startup
from atlas_hf.benchmark.speed.arguments import HELP, MEASURES, STARTUP, add_arguments
from atlas_hf.benchmark.speed.compare import compare, table
from atlas_hf.folder import Owned


def main(argv: Sequence[str], measures: Sequence[str] = tuple(MEASURES)) -> None:
    """`run` with the options of a line, and these measures if it names none."""
    name, form = "python -m atlas_hf.benchmark.speed", argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=name, description=HELP, formatter_class=form)
    add_arguments(parser)
    parser.set_defaults(measures=list(measures))
    run(parser.parse_args(argv))


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write `speed.json` and `speed.md`; the options are those of `add_arguments`."""
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    about = {name: value for name, value in vars(options).items() if name not in ("output", "adapters_python")}
    torch.set_num_threads(options.threads)
    records, notes = list[dict[str, Any]](), list[str]()
    options.measures = [name for name in options.measures if name != STARTUP]
    for case in product(options.backbones, options.variants, options.adapters) if options.measures else ():
        new, reasons = compare(*case, options)
        print("\n".join([table(new), *reasons]), flush=True)
        records, notes = records + new, list(dict.fromkeys([*notes, *reasons]))
    report: dict[str, Any] = {"about": about | {"torch": torch.__version__, "notes": notes}, "records": records}
    parts = [table(records)] if records else []
    if STARTUP in about["measures"]:
        report[STARTUP] = startup.measure(options.repeats)
        parts.append(startup.table(report[STARTUP]))
        print(parts[-1])
    if options.output:
        _write(options.output / "speed.json", json.dumps(report, indent=2))
        parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
        _write(options.output / "speed.md", "\n\n".join(parts))


def _write(path: Path, text: str) -> None:
    with Owned(path.parent).replacing(path) as temporary:
        temporary.write_text(f"{text}\n")
