"""ATLAS for Hugging Face: continual learning with adapters that are reused and expanded.

Importing the package makes the method known to PEFT.
"""

from atlas_hf.data.collator import AtlasCollator
from atlas_hf.folder import AtlasFormatError
from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.pruning import Pruned, prune_experience
from atlas_hf.training.sequence import learn_sequence
from atlas_hf.training.trainer import AtlasTrainer
from atlas_hf.tuner import AtlasConfig, AtlasLayer, AtlasTuner
from atlas_hf.tuner.registration import register
from atlas_hf.version import __version__

register()

__all__ = [
    "AtlasCollator",
    "AtlasConfig",
    "AtlasFormatError",
    "AtlasLayer",
    "AtlasModel",
    "AtlasTrainer",
    "AtlasTrainingArguments",
    "AtlasTuner",
    "Pruned",
    "TaskSpec",
    "__version__",
    "learn_sequence",
    "prune_experience",
]
