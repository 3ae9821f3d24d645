"""Evaluation mode in which the same input gives the same bits, whatever the backbone draws at random."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


class _Thread(threading.local):
    """Has a block said where this thread's random numbers come from?"""

    settled = False


_THREAD = _Thread()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode under a fixed seed: the same inputs give the same bits, and nobody's random state moves."""
    was_training = model.training
    devices = {parameter.device for parameter in model.parameters()}
    with _seeded(devices):
        if any(module.training for module in model.modules()):  # a change of mode costs the packed weights
            model.eval()
        try:
            yield
        finally:
            if was_training:
                model.train()


@contextmanager
def seeded(device: torch.device) -> Iterator[None]:
    """The fixed seed of `evaluating`, for a single call: within `evaluating`, its random numbers go on."""
    if _THREAD.settled:
        yield
    else:
        with _seeded([device]):
            yield


@contextmanager
def global_draws() -> Iterator[None]:
    """Within the block, evaluation draws from torch's global generator as it is, like training."""
    before, _THREAD.settled = _THREAD.settled, True
    try:
        yield
    finally:
        _THREAD.settled = before


@contextmanager
def _seeded(devices: Iterable[torch.device]) -> Iterator[None]:
    cuda = sorted({device.index for device in devices if device.type == "cuda"})
    with torch.random.fork_rng(devices=cuda), global_draws():
        torch.manual_seed(0)
        yield
