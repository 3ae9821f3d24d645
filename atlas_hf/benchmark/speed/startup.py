"""How long starting takes: an import in a fresh interpreter, and an answer of the command line that needs no model."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from atlas_hf.benchmark.speed.figures import markdown, ratios, spread

BASE = "import peft"
IMPORTS = (BASE, "import atlas_hf", "import atlas_hf; from atlas_hf import AtlasModel")
COMMANDS = ("atlas-hf --help", "atlas-hf learn --help", "atlas-hf learn --no-such-option")
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def measure(repeats: int) -> list[dict[str, Any]]:
    """Wall seconds of each start, and their ratios to `import peft` in the same round.

    Args:
        repeats: rounds; in each round every start has its turn. One more round goes before them and is not counted: it
            brings the files into memory.
    """
    seconds: dict[str, list[float]] = {start: [] for start in IMPORTS + COMMANDS}
    for _ in range(repeats + 1):
        for start, times in seconds.items():
            times.append(import_seconds(start) if start in IMPORTS else command_seconds(start))
    return [
        {"start": start, "seconds": times[1:], "to_peft": ratios(times[1:], seconds[BASE][1:])}
        for start, times in seconds.items()
    ]


def import_seconds(statement: str) -> float:
    """Of the statement alone, in an interpreter that has imported nothing for it."""
    return float(_output("-c", TIMED.format(statement)).split()[-1])


def command_seconds(line: str) -> float:
    """Of the whole process, the interpreter's own start included."""
    start = time.perf_counter()
    _output("-m", "atlas_hf.cli", *line.split()[1:])
    return time.perf_counter() - start


def _output(*arguments: str) -> str:
    """Raises a `RuntimeError` unless Python succeeds, or answers that the arguments are wrong (status 2)."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 2):
        raise RuntimeError(f"python {' '.join(arguments)} ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records as a Markdown table."""
    rows = []
    for record in records:
        seconds, ratio = spread(record["seconds"]), record["to_peft"]
        cells = [f"{found['median']:.2f} | {found['low']:.2f}-{found['high']:.2f}" for found in (seconds, ratio)]
        rows.append([f"`{record['start']}`", *cells])
    return markdown(["start", "seconds | middle half", f"/ `{BASE}` | middle half"], rows)
