"""Rows to batches, and a task out of a user's own data. May import `atlas_hf.tasks`.

`encoder`, texts and images to a backbone's inputs; `collator`, rows to batches; `rows`, what `predict` is given as
rows; `pixels`, the one way from an image, as anybody gives it, to RGB. By name, as they need `datasets`: `looking`,
the look at data before training; `own_data`, a data set of one's own as a task (`reading`, `columns`).
"""

from atlas_hf.data.collator import AtlasCollator, batches
from atlas_hf.data.encoder import Encoder
from atlas_hf.data.rows import by_length, example_rows, opened, without_format

__all__ = ["AtlasCollator", "Encoder", "batches", "by_length", "example_rows", "opened", "without_format"]
