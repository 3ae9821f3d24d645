"""A task whose examples are data sets on the Hub: where they are, which columns are what, and how they are read.

Nothing decodes an image here: rows keep the files as they came, and a data loader's workers open and resize them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Image,
    IterableDataset,
    concatenate_datasets,
    load_dataset,
)
from datasets.exceptions import DatasetNotFoundError

from atlas_hf.tasks import TaskSpec

Row = dict[str, Any]
HELD_OUT = ("validation", "test")
HELD_OUT_SIZE = 2000  # examples of a split that a data set lacks, taken from its training split
BUFFER = 10  # rows of a file that are read, per row that is drawn from it
UNLABELLED = (-1, None)


@dataclass(frozen=True)
class Source:
    """One split of a data set on the Hub, in Parquet.

    Args:
        repo: repository id, or a folder that `load_dataset` reads; None if there is none that could be named.
        split: its name for the split.
        columns: by our names, its names of the columns.
        config: its configuration, if it has several.
        revision: a branch; `refs/convert/parquet` is the Hub's own conversion of a data set with a loading script.
        large: too large to be downloaded for a few examples: these are streamed.
    """

    repo: str | None
    split: str
    columns: Mapping[str, str]
    config: str | None = None
    revision: str | None = None
    large: bool = False


@dataclass(frozen=True)
class HubTask:
    """A task, and the data sets that its splits come from.

    Args:
        columns: further arguments of `TaskSpec`, without label names unless these are fixed.
        sources: by split; one that is not there is held out of `train`.
        access: licence, and what has to be done before it can be read.
        convert: a row, under our names and without images, to the columns of the spec.
        labels: the label names if they are not known before: a function of the data set's columns.
    """

    name: str
    problem_type: str
    description: str
    columns: Mapping[str, Any]
    sources: Mapping[str, Source]
    access: str
    convert: Callable[[Row], Row] = dict
    labels: Callable[[Features], tuple[str, ...]] | None = None

    def at(self, place: str) -> HubTask:
        """The same task, with its splits in another repository or folder."""
        sources = {split: replace(s, repo=place, config=None, revision=None) for split, s in self.sources.items()}
        return replace(self, sources=sources)

    def make_spec(self, features: Features) -> TaskSpec:
        """The `TaskSpec`, with the label names that the training data give."""
        place = self.sources["train"].repo
        found: dict[str, Any] = {"dataset_id": None if place is None or Path(place).is_dir() else place}
        if self.labels:
            found["label_names"] = self.labels(features)
        return TaskSpec(self.name, self.problem_type, description=self.description, **self.columns, **found)


def class_names(features: Features, otherwise: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The names of the `ClassLabel` column `label`, in the data set's order; else `otherwise`."""
    feature = features["label"]
    found = tuple(feature.names) if isinstance(feature, ClassLabel) else otherwise
    if not found:
        raise ValueError(f"The column 'label' is {feature}, which names no classes. Cast it to a ClassLabel.")
    return found


def load_hub_task(task: HubTask, sizes: Mapping[str, int | None], seed: int) -> tuple[TaskSpec, DatasetDict]:
    """The spec and the splits `train`, `validation` and `test`, each in random order.

    Args:
        sizes: at most as many examples of each split; None for all, and for `HELD_OUT_SIZE` of a split held out.
        seed: which examples, and in what order.

    Raises:
        ValueError: a data set or a column that is not there, with what was found.
    """
    held = {
        split: HELD_OUT_SIZE if (size := sizes[split]) is None else size
        for split in HELD_OUT
        if split not in task.sources
    }
    spec = task.make_spec(_open(task, "train").features)
    wanted = None if sizes["train"] is None else sizes["train"] + sum(held.values())
    rows = _load_split(task, spec, "train", wanted, seed)
    splits = {}
    for split, size in held.items():
        splits[split] = rows.select(range(min(size, len(rows))))
        rows = rows.select(range(len(splits[split]), len(rows)))
    splits |= {split: _load_split(task, spec, split, sizes[split], seed) for split in task.sources if split != "train"}
    return spec, DatasetDict(train=rows, **{split: splits[split] for split in HELD_OUT})


def _load_split(task: HubTask, spec: TaskSpec, split: str, count: int | None, seed: int) -> Dataset:
    """At most `count` rows, drawn by seed, in random order, with the spec's columns; unlabelled ones left out."""
    rows = (
        _download(task, split) if count is None or not task.sources[split].large else _draw(task, split, count, seed)
    )
    rows = _convert(task, spec, rows)
    labelled = [i for i, label in enumerate(rows[spec.label_column]) if label not in UNLABELLED]
    rng = np.random.default_rng([seed, zlib.crc32(f"{task.name} {split}".encode())])
    return rows.select(rng.permutation(labelled)[:count])


def _convert(task: HubTask, spec: TaskSpec, rows: Dataset) -> Dataset:
    """The spec's columns. Those of images are taken over as they are, without being read."""
    images = list(spec.image_columns)
    small = rows.remove_columns(images)
    types = Features({name: kind for name, kind in spec.features.items() if name not in images})
    made = small.map(task.convert, remove_columns=small.column_names, features=types)
    return concatenate_datasets([rows.select_columns(images), made], axis=1) if images else made


def _download(task: HubTask, split: str) -> Dataset:
    _open(task, split)  # its columns are checked before anything large is fetched
    source = task.sources[split]
    rows = load_dataset(source.repo, source.config, split=source.split, revision=source.revision)
    return _named(rows, source)


def _draw(task: HubTask, split: str, count: int, seed: int) -> Dataset:
    """A sample, streamed; kept in the cache of `datasets` under its arguments."""
    options = {"task": task, "split": split, "count": count, "seed": seed}
    files = _open(task, split).features
    features = {column: Image() if isinstance(kind, Image) else kind for column, kind in files.items()}
    return Dataset.from_generator(_sample, features=Features(features), gen_kwargs=options)


def _sample(task: HubTask, split: str, count: int, seed: int) -> Iterator[Row]:
    """The same share of every file, each drawn from `BUFFER` times as many rows of it.

    A file holds neighbours (Places365 is sorted by class), so that the first rows would be no sample.
    """
    rows, label = _open(task, split), task.columns.get("label_column", "label")
    rng = np.random.default_rng(seed)
    files = rng.permutation(rows.num_shards)
    shares = map(len, np.array_split(np.arange(count), len(files)))
    for file, share in zip(files, shares, strict=True):
        if share:
            part = rows.shard(num_shards=len(files), index=int(file)).take(BUFFER * share)
            labelled = (row for row in part if task.convert(row)[label] not in UNLABELLED)
            yield from _reservoir(labelled, share, rng)


def _reservoir(rows: Iterable[Row], size: int, rng: np.random.Generator) -> list[Row]:
    """`size` rows, each with the same chance (Vitter 1985, algorithm R)."""
    kept: list[Row] = []
    for seen, row in enumerate(rows):
        place = seen if seen < size else int(rng.integers(seen + 1))
        if place < size:
            kept[place : place + 1] = [row]
    return kept


def _open(task: HubTask, split: str) -> IterableDataset:
    """The split as a stream with our column names and images as files, which costs next to nothing."""
    source = task.sources[split]
    if source.repo is None:
        raise ValueError(f"Task '{task.name}' needs a data set of your own. {_advice(task, split)}")
    try:
        rows = load_dataset(source.repo, source.config, split=source.split, revision=source.revision, streaming=True)
    except DatasetNotFoundError as error:
        raise ValueError(f"Task '{task.name}': {error} {_advice(task, split)}") from error
    missing = [column for column in source.columns.values() if column not in rows.features]
    if missing:
        raise ValueError(
            f"Task '{task.name}': {source.repo} has no column {', '.join(map(repr, missing))} in its split "
            f"'{source.split}'; found were {', '.join(map(repr, rows.features))}. {_advice(task, split)}"
        )
    for column in source.columns.values():  # first: a stream whose columns are renamed opens its images
        if isinstance(rows.features[column], Image):
            rows = rows.cast_column(column, Image(decode=False))
    return _named(rows, source)


def _advice(task: HubTask, split: str) -> str:
    source = task.sources[split]
    return (
        f"{task.access} Another copy, a Hub id or a folder with the columns "
        f"{', '.join(source.columns.values())}, can be given: sources={{'{task.name}': ...}}, or on the command line "
        f"--sources {task.name}=..."
    )


def _named(rows: Any, source: Source) -> Any:
    rows = rows.select_columns(list(source.columns.values()))
    return rows.rename_columns({theirs: ours for ours, theirs in source.columns.items() if ours != theirs})
