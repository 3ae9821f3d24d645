"""Elastic weight consolidation: what mattered to earlier tasks moves less."""

import torch
from datasets import Dataset
from torch import Tensor

from atlas_hf.benchmark.methods.base import Setting
from atlas_hf.benchmark.methods.sequential_ft import SequentialFT
from atlas_hf.data import batches
from atlas_hf.model import evaluating
from atlas_hf.tasks import TaskSpec
from atlas_hf.training import AtlasTrainingArguments


class EWC(SequentialFT):
    """Sequential fine-tuning with `weight / 2 * sum_k F_k (theta_k - anchor_k)^2` in the loss.

    Kirkpatrick et al. 2017, equation 3, for the backbone. F is the diagonal of the Fisher information, summed over
    the tasks so far; the anchor is the backbone after the last one (Huszar 2018 gives the reason for one anchor).
    """

    name = "ewc"
    summary = "sequential fine-tuning with elastic weight consolidation"
    weight = 1e3

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.fisher: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}

    def extra_loss(self, inputs: dict[str, Tensor], pooled: Tensor, step: int) -> Tensor | float:
        """The penalty, weighted."""
        return self.weight / 2 * self.penalty()

    def penalty(self) -> Tensor | float:
        """`sum_k F_k (theta_k - anchor_k)^2`; 0 before the first task is learned."""
        weights = dict(self.model.backbone.named_parameters())
        return sum((f * (weights[name] - self.anchor[name]).square()).sum() for name, f in self.fisher.items())

    def after_task(self, spec: TaskSpec, data: Dataset, args: AtlasTrainingArguments) -> None:
        """Add the task's Fisher information, of up to 256 examples, and move the anchor."""
        examples = min(len(data), 256)
        weights = {name: p for name, p in self.model.backbone.named_parameters() if p.requires_grad}
        single = batches(data.select(range(examples)), self.model.collator(spec.name), 1, self.model.device)
        with evaluating(self.model) as twin:
            for example in single:  # labels are the true ones, not the model's
                loss = twin(task=spec.name, **example).loss
                gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
                for name, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:
                        self.fisher[name] = self.fisher.get(name, 0) + gradient.square() / examples
        self.anchor = {name: weights[name].detach().clone() for name in self.fisher}

    def parameters(self) -> dict[str, int]:
        """The Fisher information and the anchor are kept as well."""
        counts = super().parameters()
        return counts | {"stored": counts["stored"] + 2 * sum(f.numel() for f in self.fisher.values())}
