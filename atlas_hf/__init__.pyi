from .data import AtlasCollator
from .folder import AtlasFormatError
from .model import AtlasModel
from .tasks import TaskSpec
from .training import AtlasTrainer, AtlasTrainingArguments, Pruned, learn_sequence, prune_experience
from .tuner import AtlasConfig, AtlasLayer, AtlasTuner
from .version import __version__

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
