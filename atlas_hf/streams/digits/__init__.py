"""A stream of tasks on scikit-learn's handwritten digits, in small scenes; it needs no network.

`scenes` draws; `examples` makes the examples of each task, `tasks` says what each task is, `stream` puts them
together; `pretraining` (with `pretraining_texts`) made the backbone in `digits_vilt/`.
"""

from atlas_hf.streams.digits.stream import (
    BACKBONE_ID,
    BENCHMARK_SIZES,
    BENCHMARK_TRAINING,
    DOWNSTREAM,
    LOW_SHOT_SIZES,
    LOW_SHOT_TRAINING,
    ORDERS,
    SIZES,
    SMOKE_SIZES,
    SMOKE_TRAINING,
    TEST_SIZE,
    THREADS,
    TRAIN_SIZE,
    TRAINING,
    VALIDATION_SIZE,
    WIDTH,
    backbone_path,
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
    "LOW_SHOT_SIZES",
    "LOW_SHOT_TRAINING",
    "ORDERS",
    "SIZES",
    "SMOKE_SIZES",
    "SMOKE_TRAINING",
    "TEST_SIZE",
    "THREADS",
    "TRAINING",
    "TRAIN_SIZE",
    "VALIDATION_SIZE",
    "WIDTH",
    "backbone_path",
    "load",
    "load_downstream",
    "load_task",
    "low_shot",
]
