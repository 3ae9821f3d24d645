"""A backbone is built only as large as its weights: its configuration is a few bytes that can ask for any size."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from atlas_hf.folder import AtlasFormatError

MAX_COUNT, _LARGEST = 100_000, 10**300
# Of these transformers makes lists in Python, before it builds anything.
_COUNT, _NOT_NEGATIVE = re.compile(r"^num_|layers?$|depths?$"), re.compile(r"^num_.*layers$|^n_layers?$")


class Built(NamedTuple):
    """How much of a model there is: tensors and numbers, or bytes that hold them."""

    tensors: int
    numbers: int


def check_counts(path: Path) -> None:
    """The numbers of layers, labels and the like in a `config.json` are some that a model has.

    Raises an `AtlasFormatError` if they are not. What is no JSON, or no number, is left to transformers to say.
    """
    values = None
    with suppress(ValueError, RecursionError):
        values = json.loads(path.read_bytes())
    _check_value(path, "", values)


def _check_value(path: Path, key: str, value: Any) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_value(path, name, inner)
    elif isinstance(value, list):
        for inner in value:
            _check_value(path, key, inner)
    elif isinstance(value, (int, float)) and _is_impossible(key, value):
        shown = f"{value:.6g}" if abs(value) < _LARGEST else "more than any number"
        raise AtlasFormatError(
            f"{path}: {key} is {shown}; at most {MAX_COUNT:,} are possible, and none below 0. Restore the file."
        )


def _is_impossible(key: str, value: float) -> bool:
    return bool(_COUNT.search(key)) and (value > MAX_COUNT or (value < 0 and bool(_NOT_NEGATIVE.search(key))))


@contextmanager
def no_larger_than(source: str, weights: Built) -> Iterator[None]:
    """While transformers builds a model in this thread: no more of it than its weights can fill.

    It builds on the meta device, where the largest tensor takes no memory, and fills or draws what is missing later.
    There is room for what a checkpoint packs together (four to one), for new parts, and for tables that are computed.

    Raises:
        AtlasFormatError: as soon as there is more.
    """
    most = Built(4 * weights.tensors + 1000, 2 * weights.numbers + 3 * 10**7)
    thread, built = threading.get_ident(), Built(0, 0)

    def count(_: nn.Module, __: str, tensor: Tensor | None) -> None:
        nonlocal built
        if tensor is None or not tensor.is_meta or threading.get_ident() != thread:
            return
        built = Built(built.tensors + 1, built.numbers + tensor.numel())
        if built.tensors > most.tensors or built.numbers > most.numbers:
            raise AtlasFormatError(
                f"The backbone {source} cannot be loaded: its config.json asks for far more than its weights hold "
                f"(more than {most.tensors:,} tensors or {most.numbers:,} numbers). Restore its files."
            )

    hooks = register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
