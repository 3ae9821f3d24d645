"""What is wrong with a folder."""

from __future__ import annotations


class AtlasFormatError(ValueError):
    """A folder is not, or no longer, what `save_pretrained` wrote."""
