"""`AtlasModel` (saving and loading) is a `BackedModel`, an `AnsweringModel`, a `TaskModel`, and so a `PeftModel`.

May import `report`, `hub`, `data`, `folder`, `tuner` and the rooms below.
"""

from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.model.beginning import Beginning
from atlas_hf.model.coefficients import Coefficients, Weight
from atlas_hf.model.evaluation import evaluating
from atlas_hf.model.output import AtlasOutput
from atlas_hf.tuner import BASE

__all__ = ["BASE", "AtlasModel", "AtlasOutput", "Beginning", "Coefficients", "Weight", "evaluating"]
