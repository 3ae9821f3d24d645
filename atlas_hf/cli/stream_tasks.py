"""`atlas-hf learn --stream`: which tasks, how many examples, and what `results.json` says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from datasets import Dataset, DatasetDict

from atlas_hf import streams
from atlas_hf.tasks import TaskSpec

Loaded = list[tuple[TaskSpec, DatasetDict]]


def load_stream(stream: ModuleType, options: Any) -> tuple[Loaded, Loaded, dict[str, Any]]:
    """The upstream tasks, those downstream (none unless asked for), and the description of both.

    Args:
        stream: see `atlas_hf.streams`.
        options: `LearnArguments` of the command line.
    """
    sizes = stream.SMOKE_SIZES if options.smoke else stream.SIZES
    # A stream without a size of its own draws its examples at random: no more are fetched than are learned from.
    train_size = options.train_size or sizes["train_size"] or options.low_shot
    sizes = sizes | {"train_size": train_size}
    elsewhere = read_sources(options.sources, options.stream)
    settings = {"seed": options.stream_seed, **sizes, **stream_options(elsewhere)}
    upstream = stream.load(options.order, tasks=options.tasks, **settings)
    wanted = options.downstream or options.downstream_tasks
    downstream = stream.load_downstream(tasks=options.downstream_tasks, **settings) if wanted else []
    if options.low_shot:
        upstream, downstream = (
            [(spec, streams.low_shot(data, options.low_shot, options.stream_seed)) for spec, data in tasks]
            for tasks in (upstream, downstream)
        )
    description = {"stream": options.stream, "order": options.order, "stream_seed": options.stream_seed} | sizes
    public = {task: place for task, place in elsewhere.items() if not Path(place).is_dir()}
    return upstream, downstream, description | {"low_shot": options.low_shot} | stream_options(public)


def load_test(about: Mapping[str, Any], name: str, sources: Sequence[str] | None) -> tuple[TaskSpec, Dataset]:
    """The test data that a task was scored on.

    Args:
        about: the description that `load_stream` gave.
        sources: `TASK=PLACE`, see `read_sources`.

    Raises:
        ValueError: it was not learned from a built-in stream.
    """
    if about.get("stream") not in streams.STREAMS:
        raise ValueError(f"Task '{name}' was not learned from a built-in stream; use AtlasTrainer.evaluate.")
    elsewhere = about.get("sources", {}) | read_sources(sources, about["stream"])
    settings = {size: about[size] for size in ("validation_size", "test_size")} | stream_options(elsewhere)
    stream = streams.get(about["stream"])
    spec, data = stream.load_task(name, train_size=1, seed=about["stream_seed"], **settings)
    return spec, data["test"]


def stream_options(sources: Mapping[str, str] | None) -> dict[str, Any]:
    """Arguments of a stream's functions that not every stream has."""
    return {"sources": dict(sources)} if sources else {}


def read_sources(items: Sequence[str] | None, stream: str) -> dict[str, str]:
    """`TASK=PLACE` ... as a dict; a `ValueError` for anything else, or a stream that is not from the Hub."""
    items = list(items or ())
    pairs = [item.partition("=") for item in items]
    wrong = [name + sign + place for name, sign, place in pairs if not (name and place)]
    if wrong or (pairs and stream != "climb"):
        raise ValueError(
            f"--sources is {' '.join(items)}; give TASK=PLACE, a task of the stream 'climb' and a Hub id or folder."
        )
    return {name: place for name, _, place in pairs}
