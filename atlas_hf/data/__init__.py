"""Rows to batches, and a task out of a user's own data. May import `atlas_hf.tasks`.

`encoder`, texts and images to a backbone's inputs; `collator`, rows to a batch; `rows`, what `predict` is given as
rows; `own_data` and `inferring`, a data set of one's own as a task: import them by name, they need `datasets`.
"""

from atlas_hf.data.collator import AtlasCollator
from atlas_hf.data.encoder import Encoder
from atlas_hf.data.rows import example_rows

__all__ = ["AtlasCollator", "Encoder", "example_rows"]
