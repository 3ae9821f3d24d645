"""ATLAS for Hugging Face: continual learning with adapters that are reused and expanded.

Importing the package makes the method known to PEFT.
"""

from atlas_hf.collator import AtlasCollator
from atlas_hf.modeling import AtlasModel
from atlas_hf.pruning import Pruned, prune_experience
from atlas_hf.sequence import learn_sequence
from atlas_hf.storage import AtlasFormatError
from atlas_hf.tasks import TaskSpec
from atlas_hf.trainer import AtlasTrainer
from atlas_hf.training_args import AtlasTrainingArguments
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
