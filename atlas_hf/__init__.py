"""ATLAS for Hugging Face: continual learning with adapters that are reused and expanded.

Importing the package makes the method known to PEFT: now, if PEFT is imported already, or else as soon as it is. The
public names (`__init__.pyi`) load when they are first used, so that a command's `--help` waits for no torch.
"""

from types import ModuleType
from typing import Any

import lazy_loader
from wrapt import register_post_import_hook

from atlas_hf.version import __version__  # noqa: F401

_load, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
_ROOMS = {"data", "folder", "fusion", "hub", "metrics", "model", "report", "streams", "tasks", "training", "tuner"}
__all__ = sorted({*_names} - _ROOMS)  # noqa: PLE0605 (a list)


def __getattr__(name: str) -> Any:
    if name not in _names:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # First, and whole: of two threads, one in here and one in PEFT's import, each would wait for what the other loads.
    import peft  # noqa: F401

    return _load(name)


def _register(peft: ModuleType) -> None:
    import atlas_hf.tuner  # noqa: F401 (which registers itself)


register_post_import_hook(_register, "peft")
