"""`AtlasModel`, the one object that a user holds: a frozen backbone and the tasks that it has learned.

A batch: `atlas_model` (which task) -> the backbone, whose sites `atlas_hf.tuner` adapts -> `answering` (head, loss).
Functions: `evaluation`, `prediction`; `records` and on it `saving` and `loading`. The class stands on top of them.
Imports `atlas_hf.{report,hub,data,folder,tuner,tasks}`.
"""

from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.model.evaluation import evaluating
from atlas_hf.model.logits import AtlasOutput
from atlas_hf.tuner.config import BASE

__all__ = ["BASE", "AtlasModel", "AtlasOutput", "evaluating"]
