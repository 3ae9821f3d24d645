"""The one loop over a data set outside of the Trainer: in its order, a batch at a time, on the model's device."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader


def batches(
    rows: Sequence[Mapping[str, Any]],
    collate: Callable[[list[Mapping[str, Any]]], Mapping[str, Tensor]],
    batch_size: int,
    device: torch.device,
) -> Iterator[dict[str, Tensor]]:
    """The rows (a `datasets.Dataset`, or a list) as batches of `batch_size` rows; the last one may be smaller.

    `collate` is an `AtlasCollator`, or its `inputs` for batches without labels.
    """
    # A loader draws a seed for its workers when it starts, workers or none. Drawn from the global generator, it would
    # change what the backbone draws next.
    loader: DataLoader = DataLoader(
        rows,  # type: ignore[arg-type]  # anything with a length and rows by number will do
        batch_size=batch_size,
        collate_fn=collate,
        generator=torch.Generator(),
    )
    for batch in loader:
        yield {name: tensor.to(device) for name, tensor in batch.items()}
