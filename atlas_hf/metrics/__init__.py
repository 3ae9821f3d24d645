"""Formulas of continual learning and of single tasks, and `evaluate` metrics around them. Imports no other room.

`matrix`, the accuracy matrix, checked; `continual`, its figures; `single`, scores of one task; `vqa`, VQA's score.
`ContinualLearning` and `VqaAccuracy` are imported when they are asked for: `evaluate` takes a second to import.
"""

from importlib import import_module

_METRICS = {"ContinualLearning": "continual_learning", "VqaAccuracy": "vqa_accuracy"}
__all__ = list(_METRICS)


def __getattr__(name: str) -> type:
    if name not in _METRICS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    folder = _METRICS[name]
    return getattr(import_module(f"{__name__}.{folder}.{folder}"), name)
