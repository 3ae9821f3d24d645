"""ATLAS as a PEFT tuner: configuration, layers, heads and pooling of a task, and batches of several tasks.

May import `atlas_hf.fusion` and `atlas_hf.tasks`.
"""

import peft  # noqa: F401 (first: importing it registers ATLAS, which imports this room)

from atlas_hf.tuner.config import AtlasConfig, AtlasPeftType
from atlas_hf.tuner.layer import AtlasLayer
from atlas_hf.tuner.model import AtlasTuner

__all__ = ["AtlasConfig", "AtlasLayer", "AtlasPeftType", "AtlasTuner"]
