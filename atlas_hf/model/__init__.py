"""`AtlasModel`: one frozen backbone and the tasks that it has learned: what it computes, how it is saved and loaded.

Downwards: `AtlasModel` (saving and loading by `storage`, the Hub) is an `AnsweringModel` (a batch: the backbone with
`atlas_hf.tuner` at its sites, then heads), which is a `TaskModel` (which tasks there are), which is a `PeftModel`.
May import `report`, `hub`, `data`, `folder`, `tuner` and the rooms below.
"""

from atlas_hf.model.answering_model import AtlasOutput
from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.model.evaluation import evaluating
from atlas_hf.tuner import BASE

__all__ = ["BASE", "AtlasModel", "AtlasOutput", "evaluating"]
