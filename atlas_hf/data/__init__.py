"""Rows to batches, and a task out of a user's own data.

May import `atlas_hf.tasks`.
"""

from atlas_hf.data.collator import AtlasCollator

__all__ = ["AtlasCollator"]
