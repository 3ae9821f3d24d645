"""Built-in streams of tasks: what there is to learn from. May import `metrics` and `atlas_hf.tasks`.

`stream` says what a stream is; `digits` and `climb` are streams; `selection` chooses tasks, and examples of a task.
"""

from __future__ import annotations

from atlas_hf.streams import climb, digits
from atlas_hf.streams.selection import low_shot
from atlas_hf.streams.stream import Stream

STREAMS: dict[str, Stream] = {"digits": digits, "climb": climb}

__all__ = ["STREAMS", "Stream", "climb", "digits", "get", "low_shot"]


def get(name: str) -> Stream:
    """A stream by name; a `ValueError` lists the possible ones."""
    if name not in STREAMS:
        raise ValueError(f"There is no stream {name!r}; possible are {', '.join(STREAMS)}.")
    return STREAMS[name]
