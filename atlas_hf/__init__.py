"""ATLAS for Hugging Face: continual learning with adapters that are reused and expanded.

Importing the package makes the method known to PEFT: now, if PEFT is imported already, or else as soon as it is. The
public names (`__init__.pyi`) load when they are first used, so that a command's `--help` waits for no torch.
"""

from types import ModuleType

import lazy_loader
from wrapt import register_post_import_hook

from atlas_hf.version import __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def _register(peft: ModuleType) -> None:
    import atlas_hf.tuner  # noqa: F401 (which registers itself)


register_post_import_hook(_register, "peft")
