"""A linear probe: logistic regression on the bare backbone, which is hard to beat at few examples."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from atlas_hf.benchmark.methods.plain_model import LoadedTask
from atlas_hf.benchmark.methods.sequential_ft import FreezeEncoder
from atlas_hf.training import AtlasTrainingArguments
from atlas_hf.training.features import pooled_features
from atlas_hf.tuner import Head

# scikit-learn's C, of features whose squared length is 1 on average. Fewer would underfit at every size that was
# tried, and from few examples cross-validation would choose beyond the largest by chance.
STRENGTHS, OF_MANY, MANY = (5.0, 11.0, 25.0, 56.0, 125.0), (625.0, 3125.0), 1000
FOLDS, ITERATIONS = 5, 200


class LinearHead(nn.Module):
    """A head without its hidden layer, and features on a scale: the loss and the shapes are the head's own.

    Args:
        head: of the task; it keeps what it knows of the problem.
        scale: what features are divided by.
    """

    def __init__(self, head: Head, scale: float) -> None:
        super().__init__()
        self.head, self.scale = head, scale
        self.out = nn.Linear(head.dense.in_features, head.out.out_features)
        self.per_example = 1 if head.joins_rows else head.rows_per_example

    def forward(self, pooled: Tensor) -> Tensor:
        """(B x rows, D) -> logits (B, C)."""
        logits = self.out(pooled.reshape(-1, self.out.in_features) / self.scale)
        return logits.view(-1, self.per_example * self.out.out_features)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The head's."""
        return self.head.loss(logits, labels)

    def scores(self, logits: Tensor) -> Tensor:
        """The head's."""
        return self.head.scores(logits)


class LinearProbe(FreezeEncoder):
    """Logistic (for other problems: linear) regression with an L2 penalty, chosen by cross-validation."""

    name = "linear_probe"
    summary = "regularised logistic regression on the bare backbone"

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """By L-BFGS, on all examples at once."""
        ((spec, data),) = tasks
        self.model.add_task(spec)
        features, labels = pooled_features(self.model, spec.name, data["train"], args.per_device_eval_batch_size)
        head = LinearHead(self.model.head(spec.name), features.square().sum(-1).mean().sqrt().item())
        strengths = STRENGTHS + (OF_MANY if len(labels) >= MANY else ())
        best = min(strengths, key=lambda strength: _left_out_loss(head, features, labels, strength))
        self.model.heads[spec.name] = _fit(head, features, labels, best)
        self.unfreeze(head.out.parameters())


def _fit(head: LinearHead, features: Tensor, labels: Tensor, strength: float) -> LinearHead:
    """The head with the least loss on features (n, R, D) plus `|W|^2 / (2 strength n)`: scikit-learn's `C`."""
    for parameter in head.out.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(head.out.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe")
    flat = features.flatten(0, 1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = head.loss(head(flat), labels)
        penalty = head.out.weight.square().sum() / (2 * strength * len(labels))
        (loss + penalty).backward()
        return cast(float, (loss + penalty).detach())

    optimizer.step(closure)
    return head


def _left_out_loss(head: LinearHead, features: Tensor, labels: Tensor, strength: float) -> float:
    """The summed loss at the examples of each fold, learned from the others; of many examples, of one fold."""
    fold, total = torch.arange(len(labels)) % FOLDS, 0.0
    for out in [fold == i for i in fold.unique()][: 1 if len(labels) >= MANY else None]:
        _fit(head, features[~out], labels[~out], strength)
        with torch.no_grad():
            total += head.loss(head(features[out].flatten(0, 1)), labels[out]).item() * int(out.sum())
    return total
