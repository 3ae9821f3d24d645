"""Whether what was read from JSON has the types that its dataclass says, down to each number."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from atlas_hf.folder.files import AtlasFormatError
from atlas_hf.metrics.matrix import LIMIT

# A place inside a value, what stands there, and what should.
Fault = tuple[str, Any, str]


def is_number(value: Any) -> bool:
    """A finite number that sums and percentages of it stay finite with."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LIMIT


_PLAIN: dict[Any, tuple[Callable[[Any], bool], str]] = {
    str: (lambda value: isinstance(value, str) and (value.isascii() or _can_be_written(value)), "a text"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (lambda value: type(value) is int and abs(value) < 2**63, "a whole number"),
    float: (is_number, "a finite number"),
    type(None): (lambda value: value is None, "null"),
}


def check_types(record: Any, where: str) -> None:
    """Raise an `AtlasFormatError` that names the first field of a dataclass that is not of its annotated type.

    A whole number is good for a float. Lists, dicts, tuples of any length, dataclasses, typed dicts and unions of
    these are looked into; `Any` and further keys of a typed dict are not.

    Args:
        record: a dataclass whose fields hold what JSON gave.
        where: the file, for the error.
    """
    if (fault := _in_fields(record)) is not None:
        place, value, needed = fault
        raise AtlasFormatError(
            f"{where}: {place.lstrip('.')[:200]} is {reprlib.repr(value)}, not {needed}. Restore the file."
        )


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _in_fields(record: Any) -> Fault | None:
    own: Any = type(record)
    return _first((name, getattr(record, name), kind) for name, kind in _hints(own).items())


def _first(items: Any) -> Fault | None:
    for place, value, kind in items:
        if (fault := _fault(value, kind)) is not None:
            return f".{place}{fault[0]}", *fault[1:]
    return None


def _fault(value: Any, kind: Any) -> Fault | None:
    if kind in _PLAIN:
        is_right, needed = _PLAIN[kind]
        return None if is_right(value) else ("", value, needed)
    if kind is Any:
        return None
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        faults = [_fault(value, part) for part in parts]
        nearest = max(filter(None, faults), key=lambda fault: len(fault[0]))
        return None if None in faults else (*nearest[:2], f"{nearest[2]} or null" if not nearest[0] else nearest[2])
    if origin in (list, Sequence, tuple) and isinstance(value, tuple if origin is tuple else list):
        return _first((place, one, parts[0]) for place, one in enumerate(value))
    if origin in (dict, Mapping) and isinstance(value, dict):
        return _first((key, key, parts[0]) for key in value) or _first((k, one, parts[1]) for k, one in value.items())
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, kind):
        return _in_fields(value)
    if is_typeddict(kind) and isinstance(value, dict):
        lacks = (("." + name, None, "given") for name in sorted(kind.__required_keys__ - value.keys()))
        return next(lacks, None) or _first((k, value[k], part) for k, part in _hints(kind).items() if k in value)
    return "", value, "a list" if origin in (list, Sequence, tuple) else "an object"


def _can_be_written(text: str) -> bool:
    """JSON can name halves of a pair of surrogates, which no file and no terminal takes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
