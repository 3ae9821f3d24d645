"""In evaluation the same inputs give the same bits: what a backbone draws there comes from generators of the call.

torch's global generator belongs to the training, which may run in another thread: nothing here reads or moves it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

_DRAWS = {
    *(torch.multinomial, torch.bernoulli, torch.normal, torch.rand, torch.randn, torch.randint, torch.randperm),
    *(Tensor.multinomial, Tensor.bernoulli, Tensor.bernoulli_, Tensor.uniform_, Tensor.normal_, Tensor.random_),
}


class OwnDraws(TorchFunctionMode):
    """Within the block, what this thread draws comes from generators of this object, all seeded with 0."""

    def __init__(self) -> None:
        super().__init__()
        self.generators: dict[torch.device, torch.Generator] = {}

    @torch.compiler.disable  # of every shape that it is called with, it would make a graph
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS and kwargs.get("generator") is None:
            kwargs = kwargs | {"generator": self._generator(args, kwargs)}
        return func(*args, **kwargs)

    def _generator(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Generator:
        """Of the device that is drawn on."""
        given = [value.device for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device = given[0] if given else torch.device(kwargs.get("device") or torch.get_default_device())
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(0)
        return self.generators[device]


class _Thread(threading.local):
    """Where this thread's evaluation draws from."""

    draws: OwnDraws | None = None  # None: new ones for each call
    shared = False  # or torch's global generator, like training?

    def __init__(self) -> None:
        self.entered: list[OwnDraws | None] = []


_THREAD = _Thread()


@contextmanager
def one_seed() -> Iterator[None]:
    """Within the block, the evaluation of this thread draws one sequence; outside, each call begins with the seed."""
    with _drawing_from(OwnDraws(), shared=False):
        yield


@contextmanager
def global_draws() -> Iterator[None]:
    """Within the block, the evaluation of this thread draws from torch's global generator."""
    with _drawing_from(None, shared=True):
        yield


@contextmanager
def own_draws(everywhere: bool) -> Iterator[None]:
    """One forward call in evaluation.

    Args:
        everywhere: may any module draw, not only those of `draw_in`? This costs time at every operation.
    """
    if _THREAD.shared:
        yield
        return
    draws, entered = _THREAD.draws or OwnDraws(), _THREAD.entered
    _THREAD.entered = []
    try:
        with _drawing_from(draws, shared=False), draws if everywhere else nullcontext():
            yield
    finally:
        for left in reversed(_THREAD.entered):  # a key was pressed: torch calls no hooks then
            _leave_draws(left)
        _THREAD.entered = entered


@contextmanager
def _drawing_from(draws: OwnDraws | None, shared: bool) -> Iterator[None]:
    before = _THREAD.draws, _THREAD.shared
    _THREAD.draws, _THREAD.shared = draws, shared
    try:
        yield
    finally:
        _THREAD.draws, _THREAD.shared = before


def draw_in(module: nn.Module) -> list[RemovableHandle]:
    """Let what this module draws come from `own_draws`, where there are any. Keep it small: a mode costs time."""
    return [
        module.register_forward_pre_hook(_enter),
        module.register_forward_hook(_leave, always_call=True),  # after an error, too
    ]


def _enter(module: nn.Module, args: tuple[Any, ...]) -> None:
    draws = None if module.training else _THREAD.draws
    _THREAD.entered.append(draws)
    if draws is not None:
        draws.__enter__()


def _leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    _leave_draws(_THREAD.entered.pop())


def _leave_draws(draws: OwnDraws | None) -> None:
    if draws is not None:
        draws.__exit__(None, None, None)
