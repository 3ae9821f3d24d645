"""Tasks of the built-in streams, to learn from, and the tasks of a learned folder, to score on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from atlas_hf import streams
from atlas_hf.cli.own_tasks import OwnTask, spec_path
from atlas_hf.data.own_data import may_be_of
from atlas_hf.folder import INDEX, Results, read_spec, refuse_links
from atlas_hf.hub import check_is_there, locate
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
    order = options.order or next(iter(stream.ORDERS))
    upstream = stream.load(order, tasks=options.tasks, **settings)
    wanted = options.downstream or options.downstream_tasks
    downstream = stream.load_downstream(tasks=options.downstream_tasks, **settings) if wanted else []
    if options.low_shot:
        upstream, downstream = (
            [(spec, streams.low_shot(data, options.low_shot, options.stream_seed)) for spec, data in tasks]
            for tasks in (upstream, downstream)
        )
    description = {"stream": options.stream, "order": order, "stream_seed": options.stream_seed} | sizes
    public = {task: place for task, place in elsewhere.items() if not Path(place).is_dir()}
    return upstream, downstream, description | {"low_shot": options.low_shot} | _stream_options(public)


def learned_folder(model_id: str, revision: str | None, tasks: Sequence[str] | None = None) -> Path:
    """The folder of a folder's name or a repository. Raises a `ValueError` if it holds no tasks.

    Args:
        tasks: of a repository, fetch these alone, and what they reuse.
    """
    check_is_there(model_id)
    folder = locate(model_id, revision, tasks)
    if folder is None:
        raise ValueError(f"{model_id} holds no tasks: it has no {INDEX}.")
    return folder


def scored_on(folder: Path, results: Results, name: str, sources: Sequence[str] | None) -> tuple[TaskSpec, Dataset]:
    """The test data of a task: its own, if it was learned from own data, or the stream's.

    `results` are the folder's; `sources` are `TASK=PLACE` ..., for data that are elsewhere than the folder says, or
    not read from the Hub. Raises a `ValueError` if the task's data are not known, gone or changed.
    """
    about, own = results.description, spec_path(folder, name)
    refuse_links(own, folder)
    if own.is_file():
        return _own_data(OwnTask.read(own), results, _read_sources(sources).get(name))
    if about.get("stream") not in streams.STREAMS:
        place = _read_sources(sources).get(name)
        if place is None:
            raise ValueError(
                f"The data of task '{name}' are not known here: it was not learned from a built-in stream, and there "
                f"is no {own}, which atlas-hf learn writes and does not push. Say where they are: --sources "
                f"{name}=PLACE, or use evaluate_task of atlas_hf.training."
            )
        return _own_data(OwnTask(read_spec(folder / name), place), results, place)
    elsewhere = about.get("sources", {}) | _read_sources(sources, about["stream"])
    settings = {size: about[size] for size in ("validation_size", "test_size")} | _stream_options(elsewhere)
    stream = streams.get(about["stream"])
    spec, data = stream.load_task(name, train_size=1, seed=about["stream_seed"], **settings)
    return spec, data["test"]


def _own_data(task: OwnTask, results: Results, place: str | None) -> tuple[TaskSpec, Dataset]:
    """The test rows of an own task, if its data, or those at `place`, are those that it was learned from."""
    task, remedy = replace(task, data=place or task.data), f"--sources {task.spec.name}=PLACE says where they are now."
    if Path(task.data).is_absolute() and not Path(task.data).exists():
        raise ValueError(f"The data of task '{task.spec.name}' are no longer at {task.data}. {remedy}")
    spec, data = task.load()
    then = [record.train_examples for record in results.tasks if record.name == spec.name]
    if then and not may_be_of(then[0], data):
        raise ValueError(
            f"The data of task '{spec.name}' at {task.data} have changed: {len(data['train'])} rows to train on, "
            f"where it was learned from {then[0]}. Rows that it knows could be among the others. {remedy}"
        )
    return spec, data["test"]


def _stream_options(sources: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of a stream's functions that not every stream has."""
    return {"sources": dict(sources)} if sources else {}


def _read_sources(items: Sequence[str] | None, stream: str | None = None) -> dict[str, str]:
    """`TASK=PLACE` ... as a dict; a `ValueError` for anything else, or a stream that is not from the Hub."""
    items = items or ()
    pairs = [item.partition("=") for item in items]
    if any(not (name and place) for name, _, place in pairs) or (pairs and stream not in (None, "climb")):
        raise ValueError(
            f"--sources is {' '.join(items)}; give TASK=PLACE: an own task, or one of the stream 'climb', and a Hub "
            "id, folder or file."
        )
    return {name: place for name, _, place in pairs}
