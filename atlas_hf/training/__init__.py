"""How tasks are learned: arguments, trainers, checkpoints, screening and pruning, a sequence of tasks, and going on.

May import `model`, `report`, `hub`, `data`, `folder`, `tuner`, `metrics` and `tasks`, and no streams or commands.
"""

from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.contributions import contributions
from atlas_hf.training.defaults import chosen_for
from atlas_hf.training.learning import environment, mean_coefficients
from atlas_hf.training.pruning import Pruned, prune_experience
from atlas_hf.training.publishing import saying_what_to_do_without_the_hub
from atlas_hf.training.screening import most_useful
from atlas_hf.training.sequence import learn_sequence, write_results
from atlas_hf.training.stages import StageTable
from atlas_hf.training.task_trainer import TaskTrainer, evaluate_task, score
from atlas_hf.training.trainer import AtlasTrainer

__all__ = [
    "AtlasTrainer", "AtlasTrainingArguments", "Pruned", "StageTable", "TaskTrainer", "chosen_for", "contributions",
    "environment", "evaluate_task", "learn_sequence", "mean_coefficients", "most_useful", "prune_experience",
    "saying_what_to_do_without_the_hub", "score", "write_results",
]  # fmt: skip
