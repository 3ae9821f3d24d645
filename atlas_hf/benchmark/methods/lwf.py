"""Learning without forgetting: on the new task's data, the old heads go on answering as they did."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, mse_loss

from atlas_hf.benchmark.methods.base import Setting
from atlas_hf.benchmark.methods.plain_model import LoadedTask
from atlas_hf.benchmark.methods.sequential_ft import SequentialFT
from atlas_hf.training import AtlasTrainingArguments
from atlas_hf.tuner import global_draws


class LwF(SequentialFT):
    """Sequential fine-tuning with distillation of the model as it was before the task (Li & Hoiem 2016, section 3).

    All heads train, without the paper's warm-up of the new one. An old head reads a batch's pooled rows as they come,
    as many at a time as its own examples have (choices, pairs); rows that do not fill up an example are left out.
    """

    name = "lwf"
    summary = "sequential fine-tuning with distillation of the old heads"
    weight = 1.0
    all_heads = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.old = self.model  # as it was before the task that is learned; now without any

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """Beside a copy of the model, which is not kept."""
        self.old = deepcopy(self.model).requires_grad_(False).eval()
        super().train(tasks, args, steps)
        self.old = self.model

    def extra_loss(self, inputs: dict[str, Tensor], pooled: Tensor, step: int) -> Tensor | float:
        """The distances of all old tasks' heads, weighted."""
        if not self.old.specs:
            return 0.0
        with torch.no_grad(), global_draws():  # as in the runs that are published
            before = self.old.pooled(self.old.task, **{n: t for n, t in inputs.items() if n != "labels"})
        return self.weight * sum(self.distance(task, pooled, before) for task in self.old.specs)

    def distance(self, task: str, pooled: Tensor, before: Tensor) -> Tensor | float:
        """How far an old task's head is from what it said, per example; 0 if it has not moved."""
        head, old = self.model.head(task), self.old.head(task)
        rows = len(pooled) // head.rows_per_example * head.rows_per_example
        if not rows:
            return 0.0
        return distillation(self.model.specs[task].problem_type, head(pooled[:rows]), old(before[:rows]))


def distillation(problem_type: str, new: Tensor, old: Tensor) -> Tensor:
    """Kullback-Leibler divergence of answers at temperature 2, mean over examples: logits (B, C). Its gradient
    is that of the paper's equation 2. A score per answer is a choice between yes and no.
    """
    if problem_type == "regression":
        return mse_loss(new, old)
    if problem_type == "multi_label_classification":
        new, old = (torch.stack([logits, torch.zeros_like(logits)], dim=-1) for logits in (new, old))
    new, old = (log_softmax(logits.float() / 2.0, dim=-1) for logits in (new, old))
    return kl_div(new, old, log_target=True, reduction="sum") / len(new)
