"""Tasks of the built-in streams, to learn from, and the tasks of a learned folder, to score on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from atlas_hf import streams
from atlas_hf.cli.own_tasks import OwnTask, spec_path
from atlas_hf.folder import INDEX
from atlas_hf.hub import locate
from atlas_hf.tasks import TaskSpec

Loaded = list[tuple[TaskSpec, DatasetDict]]


def load_stream(stream: streams.Stream, options: Any) -> tuple[Loaded, Loaded, dict[str, Any]]:
    """The upstream tasks, those downstream (none unless asked for), and what `results.json` says of both.

    `options` are the `LearnArguments` of the command line.
    """
    sizes = stream.SMOKE_SIZES if options.smoke else stream.SIZES
    # A stream without a size of its own draws its examples at random: no more are fetched than are learned from.
    sizes = sizes | {"train_size": options.train_size or sizes["train_size"] or options.low_shot}
    elsewhere = _read_sources(options.sources, options.stream)
    settings = {"seed": options.stream_seed, **sizes, **_stream_options(elsewhere)}
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
    return upstream, downstream, description | {"low_shot": options.low_shot} | _stream_options(public)


def learned_folder(model_id: str, revision: str | None) -> Path:
    """The folder of a folder's name or a repository. Raises a `ValueError` if it holds no tasks."""
    folder = locate(model_id, revision)
    if folder is None:
        raise ValueError(f"{model_id} holds no tasks: it has no {INDEX}.")
    return folder


def scored_on(
    folder: Path, about: Mapping[str, Any], name: str, sources: Sequence[str] | None
) -> tuple[TaskSpec, Dataset]:
    """The test data of a task: its own, if it was learned from `--data` and is still where it was, or the stream's.

    `about` is the description in the folder's `results.json`; `sources` are `TASK=PLACE` ..., for tasks that are not
    read from the Hub. Raises a `ValueError` if the task's data are not known.
    """
    own = spec_path(folder, name)
    if own.is_file():
        spec, data = OwnTask.read(own).load()
        return spec, data["test"]
    if about.get("stream") not in streams.STREAMS:
        raise ValueError(f"Task '{name}' was not learned from a built-in stream; use AtlasTrainer.evaluate.")
    elsewhere = about.get("sources", {}) | _read_sources(sources, about["stream"])
    settings = {size: about[size] for size in ("validation_size", "test_size")} | _stream_options(elsewhere)
    stream = streams.get(about["stream"])
    spec, data = stream.load_task(name, train_size=1, seed=about["stream_seed"], **settings)
    return spec, data["test"]


def _stream_options(sources: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of a stream's functions that not every stream has."""
    return {"sources": dict(sources)} if sources else {}


def _read_sources(items: Sequence[str] | None, stream: str) -> dict[str, str]:
    """`TASK=PLACE` ... as a dict; a `ValueError` for anything else, or a stream that is not from the Hub."""
    items = items or ()
    pairs = [item.partition("=") for item in items]
    if any(not (name and place) for name, _, place in pairs) or (pairs and stream != "climb"):
        raise ValueError(
            f"--sources is {' '.join(items)}; give TASK=PLACE, a task of the stream 'climb' and a Hub id or folder."
        )
    return {name: place for name, _, place in pairs}
