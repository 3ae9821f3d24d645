"""How long starting takes: an import in a fresh interpreter, and an answer of the command line that needs no model."""

import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from atlas_hf.benchmark.speed.compare import ratios, spread, take_turns, written
from atlas_hf.report.text import markdown

BASE = "import peft"
IMPORTS = (BASE, "import atlas_hf", "import atlas_hf; from atlas_hf import AtlasModel")
COMMANDS = ("atlas-hf --help", "atlas-hf learn --help", "atlas-hf learn --no-such-option")
TIMED = """import time
wall, cpu = time.perf_counter(), time.process_time()
{}
print(time.perf_counter() - wall, time.process_time() - cpu)"""


def measure(repeats: int) -> list[dict[str, Any]]:
    """A record per start: its seconds in so many rounds, and their ratios to `import peft` in the same round."""
    calls = {start: partial(import_seconds, start) for start in IMPORTS}
    calls |= {start: partial(command_seconds, start) for start in COMMANDS}
    found = take_turns(calls, repeats)
    seconds = {start: [list(kind) for kind in zip(*times, strict=True)] for start, times in found.items()}
    return [
        {"start": start, "seconds": wall, "to_peft": ratios(wall, seconds[BASE][0])}
        | {"cpu_seconds": cpu, "cpu_to_peft": ratios(cpu, seconds[BASE][1])}
        for start, (wall, cpu) in seconds.items()
    ]


def import_seconds(statement: str) -> tuple[float, float]:
    """Of the statement alone, in an interpreter that has imported nothing for it: the clock's, the processor's."""
    wall, cpu = _output("-c", TIMED.format(statement)).split()[-2:]
    return float(wall), float(cpu)


def command_seconds(line: str) -> tuple[float, float]:
    """Of the whole process, the interpreter's own start included: the clock's, the processor's."""
    import resource  # which Windows does not have

    def now() -> tuple[float, float]:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.perf_counter(), usage.ru_utime + usage.ru_stime

    wall, cpu = now()
    _output("-m", "atlas_hf.cli", *line.split()[1:])
    later, more = now()
    return later - wall, more - cpu


def table(records: Sequence[dict[str, Any]]) -> str:
    """The records as a Markdown table."""
    more = ["middle half", f"/ `{BASE}`", "middle half"]
    rows = []
    for record in records:
        rows.append([f"`{record['start']}`"])
        for kind in ("", "cpu_"):
            rows[-1] += written(spread(record[f"{kind}seconds"])) + written(record[f"{kind}to_peft"])
    return markdown(["start", "seconds", *more, "CPU seconds", *more], rows)


def _output(*arguments: str) -> str:
    """Raises a `RuntimeError` unless Python succeeds, or answers that the arguments are wrong (status 2)."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 2):
        raise RuntimeError(f"python {' '.join(arguments)} ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout
