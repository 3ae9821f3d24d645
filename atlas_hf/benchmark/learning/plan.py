"""What a benchmark is to measure: which cells, and the settings that they share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas_hf import streams
from atlas_hf.benchmark.learning.cells import ANY_ORDER, FULL, Key
from atlas_hf.benchmark.methods import METHODS, LoadedTask, Method


@dataclass(frozen=True)
class Plan:
    """A benchmark. Raises a `ValueError` for a name that does not exist, or more examples than there are."""

    stream: str  # in `streams.STREAMS`
    orders: Sequence[str]  # of the stream
    methods: Mapping[str, type[Method]]  # by name
    seeds: Sequence[int]  # of training and of the low-shot draw
    low_shot: Sequence[str]  # numbers of examples; `"full"` for downstream tasks only: the others always learn so
    sizes: Mapping[str, Any]  # `train_size`, `validation_size` (no method sees that split), `test_size`
    training: Mapping[str, Any]  # fields of `AtlasTrainingArguments` at full size
    low_shot_training: Mapping[str, Any]  # the same for low-shot sizes
    width: int  # of the adapters
    backbone: str  # folder or id
    pooling: str | None = None  # of what heads read of it, as in `AtlasConfig`
    low_shot_methods: Sequence[str] | None = None  # that learn from few examples, too; None: all of them
    other_seeds: Sequence[int] | None = None  # of the methods without low-shot sizes; None: no others

    def __post_init__(self) -> None:
        _check_names("method", self.low_shot_methods or (), METHODS | dict(self.methods))
        _check_names("order", self.orders, streams.get(self.stream).ORDERS)
        for size in self.low_shot:
            number = int(size) if size.isdecimal() else 0
            if size != FULL and not 1 <= number <= self.sizes["train_size"]:
                possible = f"numbers from 1 to {self.sizes['train_size']} (the training examples of a task)"
                raise ValueError(f"Low-shot size {size!r}: give {possible}, or {FULL!r}.")

    @property
    def settings(self) -> dict[str, Any]:
        """What every cell says it was measured under."""
        names = ("sizes", "training", "low_shot_training", "low_shot", "low_shot_methods", "width", "backbone")
        given = {"pooling": self.pooling} if self.pooling else {}  # cells of older versions do not name it
        return json.loads(json.dumps({name: getattr(self, name) for name in names} | given))  # lists, as in the file

    def low_shot_sizes(self, method: str) -> Sequence[str]:
        """The sizes at which a method learns new tasks."""
        return self.low_shot if self.low_shot_methods is None or method in self.low_shot_methods else ()

    @property
    def keys(self) -> list[Key]:
        """All cells, seed by seed, so that what is there early can already be compared."""
        others = self.seeds if self.other_seeds is None else self.other_seeds
        found = (
            Key(name, order if method.uses_order else ANY_ORDER, seed)
            for seed in sorted({*self.seeds, *others})
            for order in self.orders
            for name, method in self.methods.items()
            if seed in (self.seeds if self.low_shot_sizes(name) else others)
        )
        return list(dict.fromkeys(found))

    def load(self) -> tuple[list[LoadedTask], list[LoadedTask]]:
        """The upstream tasks, in the first order, and the downstream tasks if a low-shot size is asked for."""
        stream = streams.get(self.stream)
        downstream = stream.load_downstream(**self.sizes) if self.low_shot else []
        return stream.load(self.orders[0], **self.sizes), downstream

    def in_order(self, upstream: Sequence[LoadedTask], order: str) -> list[LoadedTask]:
        """The upstream tasks in an order of the stream; as they are for `ANY_ORDER`."""
        if order == ANY_ORDER:
            return list(upstream)
        by_name = {spec.name: (spec, data) for spec, data in upstream}
        return [by_name[name] for name in streams.get(self.stream).ORDERS[order]]


def _check_names(what: str, names: Sequence[str], possible: Mapping[str, Any]) -> None:
    unknown = [name for name in names if name not in possible]
    if unknown:
        raise ValueError(f"There is no {what} {', '.join(map(repr, unknown))}; possible are {', '.join(possible)}.")
