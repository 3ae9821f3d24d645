"""Learning tasks: the arguments, the trainer of two stages, and a whole stream that can be gone on with.

May import `model` and the rooms below.
"""

from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.pruning import Pruned, prune_experience
from atlas_hf.training.sequence import learn_sequence
from atlas_hf.training.trainer import AtlasTrainer

__all__ = ["AtlasTrainer", "AtlasTrainingArguments", "Pruned", "learn_sequence", "prune_experience"]
