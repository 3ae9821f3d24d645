"""Choosing tasks of a stream, and examples of a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from datasets import DatasetDict


def low_shot(data: DatasetDict, n: int, seed: int = 0) -> DatasetDict:
    """The same data with `n` training examples drawn at random; validation and test stay whole.

    Raises:
        ValueError: if `n` is not between 1 and the number of training examples.
    """
    train = data["train"]
    if not 1 <= n <= len(train):
        raise ValueError(f"Cannot draw {n} training examples; give a number between 1 and {len(train)}.")
    rows = np.random.default_rng(seed).permutation(len(train))[:n]
    return DatasetDict({**data, "train": train.select(rows)})


def chosen(possible: Sequence[str], tasks: Iterable[str] | None) -> list[str]:
    """The tasks that are wanted, in the order of `possible`; a `ValueError` for one that is not there."""
    wanted = list(possible if tasks is None else tasks)
    unknown = [name for name in wanted if name not in possible]
    if unknown:
        raise ValueError(f"There is no task {', '.join(map(repr, unknown))} here; possible are {', '.join(possible)}.")
    return [name for name in possible if name in wanted]


def in_order(orders: Mapping[str, Sequence[str]], order: str, tasks: Iterable[str] | None) -> list[str]:
    """The tasks that are wanted, in an order by its name; a `ValueError` for an order or a task that is not there."""
    if order not in orders:
        raise ValueError(f"Order {order!r} does not exist; possible are {', '.join(orders)}.")
    return chosen(orders[order], tasks)
