"""Rows to batches, and a task out of a user's own data. May import `atlas_hf.tasks`.

`encoder`, texts and images to a backbone's inputs; `collator`, rows to batches; `rows`, what `predict` is given as
rows; `own_data`, a data set of one's own as a task: import it by name, it needs `datasets`.
"""

from atlas_hf.data.collator import AtlasCollator, batches
from atlas_hf.data.encoder import Encoder
from atlas_hf.data.rows import example_rows

__all__ = ["AtlasCollator", "Encoder", "batches", "example_rows"]
