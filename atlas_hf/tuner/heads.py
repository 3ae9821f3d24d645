"""One head per task shape. A head maps pooled vectors to logits and knows its loss."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from atlas_hf.tasks import TaskSpec

# The modules of every head: no task may have such a name (see `atlas_hf.tuner.checks.check_name`).
HEAD_PARTS = ("dense", "norm", "out")


# Hidden units of a head, but not fewer than its labels and not more than 2D. On the pooled vectors of MiniLM (D = 384,
# four tasks of sentiment, 10 draws each) 128 do as well as 768, -0.5 to 0.2 points from 16 to 1,000 examples; 32 lose
# up to 1.0, the best linear head up to 1.1.
WIDTH = 256


class Head(nn.Module):
    """Linear(D, H) - LayerNorm - GELU - Linear(H, C), as in the released code (Model/vilt_model.py), where H = 2D.

    Args:
        in_features: D, the size of a pooled vector; num_labels: C.
        rows_per_example: how many backbone rows, and so pooled vectors, belong to one example.
        hidden: H; by default 2D.
    """

    joins_rows = False  # are the pooled vectors of an example's rows joined into one input?

    def __init__(
        self, in_features: int, num_labels: int, rows_per_example: int = 1, hidden: int | None = None
    ) -> None:
        super().__init__()
        hidden = hidden or 2 * in_features
        self.rows_per_example = rows_per_example
        size = in_features * (rows_per_example if self.joins_rows else 1)
        self.dense = nn.Linear(size, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, num_labels)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B x rows, D) -> logits (B, C)."""
        rows = pooled.to(self.dense.weight.dtype).reshape(-1, self.dense.in_features)
        return self.out(nn.functional.gelu(self.norm(self.dense(rows))))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, C) and the labels of the head's kind -> a scalar, the mean over the examples."""
        raise NotImplementedError

    def scale_to(self, labels: Tensor) -> None:
        """Let a head that has not learned yet answer on the scale of these labels."""

    def scores(self, logits: Tensor) -> Tensor:
        """Logits (B, C) -> what a user reads, (B, C)."""
        return logits.float().softmax(-1)


class ClassificationHead(Head):
    """One of C classes; labels (B,), whole numbers."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(logits.float(), labels)


class PairHead(ClassificationHead):
    """One of C classes for the joined pooled vectors of an example's rows (NLVR2: two images)."""

    joins_rows = True


class MultipleChoiceHead(ClassificationHead):
    """A score per choice; labels (B,): the index of the right one."""

    def forward(self, pooled: Tensor) -> Tensor:
        """(B x choices, D) -> logits (B, choices)."""
        return super().forward(pooled).view(-1, self.rows_per_example)


class MultiLabelHead(Head):
    """A score for each of C answers; labels (B, C), soft scores in [0, 1] (VQA)."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy summed over the answers: the mean times C, as in the released code."""
        return binary_cross_entropy_with_logits(logits.float(), labels.float()) * logits.shape[-1]

    def scores(self, logits: Tensor) -> Tensor:
        """A sigmoid of each logit."""
        return logits.float().sigmoid()


class RegressionHead(Head):
    """A number; labels (B,)."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error."""
        return mse_loss(logits.float().squeeze(-1), labels.float())

    def scale_to(self, labels: Tensor) -> None:
        """About their mean, with their spread: a few hundred small steps would not come from 0 to 1,000."""
        with torch.no_grad():
            self.out.weight.mul_(labels.float().std(correction=0).clamp_min(1e-6))
            self.out.bias.fill_(labels.float().mean())

    def scores(self, logits: Tensor) -> Tensor:
        """The numbers themselves."""
        return logits.float()


HEADS: dict[str, type[Head]] = {
    "single_label_classification": ClassificationHead,
    "multi_label_classification": MultiLabelHead,
    "multiple_choice": MultipleChoiceHead,
    "image_pair": PairHead,
    "regression": RegressionHead,
}


def head_arguments(spec: TaskSpec, in_features: int, hidden: int | None = None) -> dict[str, int | str]:
    """What `build_head` needs for a task, as plain JSON for the adapter's config.

    Args:
        hidden: units of the hidden layer; by default 256, or as many as labels if there are more, but at most 2D.
    """
    arguments: dict[str, int | str] = {
        "problem_type": spec.problem_type,
        "in_features": in_features,
        "num_labels": spec.num_labels,
        "rows_per_example": spec.rows_per_example,
    }
    hidden = min(2 * in_features, max(WIDTH, spec.num_labels)) if hidden is None else hidden
    return arguments if hidden == 2 * in_features else arguments | {"hidden": hidden}  # as older folders have it


def is_head_of(arguments: Mapping[str, Any] | None, spec: TaskSpec, in_features: int) -> bool:
    """Do the arguments of a head, however wide, fit a task?"""
    hidden = (arguments or {}).get("hidden", 2 * in_features)
    return arguments == head_arguments(spec, in_features, hidden)


def build_head(
    problem_type: str, in_features: int, num_labels: int, rows_per_example: int = 1, hidden: int | None = None
) -> Head:
    """The head of a problem type, weights drawn from torch's global generator."""
    if problem_type not in HEADS:
        raise ValueError(f"problem_type is {problem_type!r}; possible are {', '.join(HEADS)}.")
    numbers = {"in_features": in_features, "num_labels": num_labels, "rows": rows_per_example}
    for name, value in (numbers if hidden is None else numbers | {"hidden": hidden}).items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
            raise ValueError(f"A head's {name} is {value!r}; give a whole number from 1 to 1,000,000.")
    return HEADS[problem_type](in_features, num_labels, rows_per_example, hidden)
