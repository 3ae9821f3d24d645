"""Built-in streams of tasks: what there is to learn from. May import `metrics` and `atlas_hf.tasks`.

`stream` says what a stream is, and chooses tasks and examples of it; `digits`, `climb` and `real` are streams.
"""

from atlas_hf.streams import climb, digits, real
from atlas_hf.streams.stream import Stream, low_shot

STREAMS: dict[str, Stream] = {"digits": digits, "climb": climb, "real": real}

__all__ = ["STREAMS", "Stream", "climb", "digits", "get", "low_shot", "real"]


def get(name: str) -> Stream:
    """A stream by name; a `ValueError` lists the possible ones."""
    if name not in STREAMS:
        raise ValueError(f"There is no stream {name!r}; possible are {', '.join(STREAMS)}.")
    return STREAMS[name]
