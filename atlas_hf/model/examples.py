"""What a user asks about: examples, one or many, and no input under two names."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from atlas_hf.data import AtlasCollator, batches, opened


def one_or_many(plural: str, many: Any, one: Any) -> Any:
    """An input that was given under either name: both take one or a list. A `ValueError` if it was given twice."""
    if one is not None and many is not None:
        raise ValueError(f"{plural[:-1]} and {plural} were given. Give one of both; each takes one or a list.")
    return many if one is None else one


def encoded(
    collate: AtlasCollator, rows: Sequence[Mapping[str, Any]], batch_size: int, device: torch.device
) -> Iterator[dict[str, Tensor]]:
    """The backbone's inputs of rows as `example_rows` gives them, a batch at a time."""
    return batches(rows, lambda given: collate.inputs(opened(collate.spec, given)), batch_size, device)
