"""Names that options choose from, known without importing what they name."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from atlas_hf.cli.source import source


def streams() -> dict[str, Any]:
    """The built-in streams by name, each with the names of its module."""
    found: dict[str, Any] = source("atlas_hf.streams")["STREAMS"]
    return found


def methods() -> list[str]:
    """The names of the benchmark's methods."""
    return list(source("atlas_hf.benchmark.methods")["METHODS"])


def check_names(what: str, names: Iterable[str], possible: Collection[str]) -> None:
    """Raises a `ValueError` that lists the possible names, unless all are among them."""
    unknown = [name for name in names if name not in possible]
    if unknown:
        raise ValueError(f"There is no {what} {', '.join(map(repr, unknown))}; possible are {', '.join(possible)}.")
