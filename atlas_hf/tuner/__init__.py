"""ATLAS as a PEFT tuner."""

from atlas_hf.tuner.config import AtlasConfig, AtlasPeftType
from atlas_hf.tuner.layer import AtlasLayer
from atlas_hf.tuner.model import AtlasTuner

__all__ = ["AtlasConfig", "AtlasLayer", "AtlasPeftType", "AtlasTuner"]
