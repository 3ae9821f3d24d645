"""`AtlasModel`: one frozen backbone and the tasks that it has learned: what it computes, how it is saved and loaded.

May import `report`, `hub`, `data`, `folder`, `tuner` and the rooms below.
"""

from atlas_hf.model.atlas_model import AtlasModel, AtlasOutput

__all__ = ["AtlasModel", "AtlasOutput"]
