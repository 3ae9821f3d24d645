"""ATLAS for Hugging Face: continual learning with adapters that are reused and expanded.

Importing the package makes the method known to PEFT.
"""

from atlas_hf.tuner import AtlasConfig, AtlasLayer, AtlasTuner
from atlas_hf.tuner.registration import register

register()

__version__ = "0.1.0"
