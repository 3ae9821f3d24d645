"""Built-in streams of tasks. Each is a module with the same names:

`load`, `load_downstream`, `load_task`, `low_shot`, `BACKBONE_ID`, and the settings it is learned with: `SIZES`,
`WIDTH`, `TRAINING`, `THREADS` on a CPU, the tiny ones for a smoke run, `SMOKE_SIZES` and `SMOKE_TRAINING`, and those
of the benchmark, `BENCHMARK_SIZES`, `BENCHMARK_TRAINING`, `LOW_SHOT_SIZES` and `LOW_SHOT_TRAINING`.
"""

from __future__ import annotations

from types import ModuleType

from atlas_hf.streams import climb, digits
from atlas_hf.streams.selection import low_shot

STREAMS: dict[str, ModuleType] = {"digits": digits, "climb": climb}

__all__ = ["STREAMS", "climb", "digits", "get", "low_shot"]


def get(name: str) -> ModuleType:
    """A stream by name; a `ValueError` lists the possible ones."""
    if name not in STREAMS:
        raise ValueError(f"There is no stream {name!r}; possible are {', '.join(STREAMS)}.")
    return STREAMS[name]
