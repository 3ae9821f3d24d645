"""The stream of the ATLAS paper: the tasks of CLiMB, read from the Hub.

`hub_tasks` says how a task is read from data sets on the Hub, `tasks` which there are, `stream` puts them together.
"""

from atlas_hf.streams.climb.stream import (
    BACKBONE_ID,
    BENCHMARK_SIZES,
    BENCHMARK_TRAINING,
    DOWNSTREAM,
    LOW_SHOT,
    LOW_SHOT_SIZES,
    LOW_SHOT_TRAINING,
    ORDERS,
    SIZES,
    SMOKE_SIZES,
    SMOKE_TRAINING,
    THREADS,
    TRAINING,
    VALIDATION_SIZE,
    WIDTH,
    load,
    load_downstream,
    load_task,
)
from atlas_hf.streams.selection import low_shot

__all__ = [
    "BACKBONE_ID",
    "BENCHMARK_SIZES",
    "BENCHMARK_TRAINING",
    "DOWNSTREAM",
    "LOW_SHOT",
    "LOW_SHOT_SIZES",
    "LOW_SHOT_TRAINING",
    "ORDERS",
    "SIZES",
    "SMOKE_SIZES",
    "SMOKE_TRAINING",
    "THREADS",
    "TRAINING",
    "VALIDATION_SIZE",
    "WIDTH",
    "load",
    "load_downstream",
    "load_task",
    "low_shot",
]
