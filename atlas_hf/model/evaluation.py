"""Evaluation in which the same inputs give the same bits, whatever the backbone draws at random."""

import threading
from collections.abc import Iterator
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
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), global_draws():
        torch.manual_seed(0)
        if any(module.training for module in model.modules()):  # a change of mode costs the packed weights
            model.eval()
        try:
            yield
        finally:
            if was_training:
                model.train()


@contextmanager
def seeded() -> Iterator[None]:
    """The seed of `evaluating` for one call, on the CPU; within `evaluating`, its random numbers go on."""
    if _THREAD.settled:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


@contextmanager
def global_draws() -> Iterator[None]:
    """Within the block, evaluation draws from torch's global generator as it is, like training."""
    before, _THREAD.settled = _THREAD.settled, True
    try:
        yield
    finally:
        _THREAD.settled = before
