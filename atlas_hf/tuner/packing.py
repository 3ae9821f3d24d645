"""Packed weights of the adapters at a site, kept while they do not change."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from atlas_hf.fusion import Pack, compute_dtype, widened
from atlas_hf.tuner.parameters import TaskParameters

MAX_PACKS = 4


def pack(site: TaskParameters, names: Sequence[str]) -> tuple[Pack, Tensor]:
    """The adapters of these names as one `Pack`, and their keys (K, Q, D)."""
    rows = [site.reusable(name) for name in names]
    single = widened([Pack(down, down_bias, up.mT, up_bias) for down, down_bias, up, up_bias, _ in rows])
    return Pack(*map(_stacked, zip(*single, strict=True))), _stacked([key for *_, key in rows])


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """On a new first axis; a single tensor is not copied."""
    return torch.stack(list(tensors)) if len(tensors) > 1 else tensors[0][None]


class Stamp(NamedTuple):
    """A parameter as it was when it was packed.

    The alias keeps the memory from being given to another tensor, so that an equal address is the same memory.
    """

    parameter: Tensor
    alias: Tensor
    version: int

    def holds(self, parameter: Tensor) -> bool:
        """Is it still what it was?"""
        same = parameter is self.parameter and parameter._version == self.version  # noqa: SLF001
        return same and parameter.data_ptr() == self.alias.data_ptr()


class Entry(NamedTuple):
    """What was packed, and of which parameters."""

    names: tuple[str, ...]
    dtype: torch.dtype
    width: int
    stamps: list[Stamp]
    weights: Pack
    keys: Tensor


class PackCache:
    """The packs of one site, by the names of their adapters.

    A pack serves as long as every parameter in it is the same object with the same memory, shape and version: torch
    counts every write to a parameter but those through `.data`. It also serves tasks that use its first adapters only;
    so the tasks of a stream, each of which reuses all earlier ones, share one. At most `MAX_PACKS` are kept. Threads
    may use it together: entries are replaced, never changed. A copy of a site begins with none.
    """

    def __init__(self) -> None:
        self._entries: tuple[Entry, ...] = ()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return PackCache, ()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Pack anew when asked next."""
        self._entries = ()

    def get(self, site: TaskParameters, names: Sequence[str]) -> tuple[Pack, Tensor]:
        """Like `pack`, in the type that autocast would convert the weights to."""
        rows = [site.reusable(name) for name in names]
        parameters = [*chain.from_iterable(rows)]
        trains = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters)
        if trains or torch.compiler.is_compiling() or any(parameter.is_inference() for parameter in parameters):
            return pack(site, names)
        names, width = tuple(names), max(len(row[1]) for row in rows)
        dtype = compute_dtype(parameters[0])
        for entry in self._entries:
            same = entry.names[: len(names)] == names and (entry.dtype, entry.width) == (dtype, width)
            if same and all(map(Stamp.holds, entry.stamps, parameters)):
                return Pack(*(tensor[: len(names)] for tensor in entry.weights)), entry.keys[: len(names)]
        stamps = [Stamp(parameter, parameter.detach(), parameter._version) for parameter in parameters]  # noqa: SLF001
        # What is made in inference mode could not be used for training later.
        with torch.inference_mode(False), torch.no_grad():
            weights, keys = pack(site, names)
            weights = Pack(*(tensor.to(dtype).contiguous() for tensor in weights))
        entry = Entry(names, dtype, width, stamps, weights, keys)
        self._entries = (entry, *(old for old in self._entries if not _covers(entry, old)))[:MAX_PACKS]
        return weights, keys


def _covers(new: Entry, old: Entry) -> bool:
    """Is everything that `old` serves served by `new`, or out of date?"""
    shorter = min(len(new.names), len(old.names))
    return new.names[:shorter] == old.names[:shorter] and (new.dtype, new.width) == (old.dtype, old.width)
