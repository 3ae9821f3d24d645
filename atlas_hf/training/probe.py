"""A linear probe: how well pooled features predict the labels of examples that it has not seen.

A task of any kind is a regression here, with an exact solution: what is left out costs no further fit.
"""

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import one_hot

from atlas_hf.data import AtlasCollator, batches, by_length
from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec

EXAMPLES, BATCH_SIZE = 256, 64
FOLDS = 5
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def left_out_errors(features: Tensor, targets: Tensor) -> Tensor:
    """Squared error of ridge regression at each example when it is left out, (n,), with the best of the penalties.

    As a share of what the mean of the others has, so that 1 is no better than the mean. In closed form: with the hat
    matrix H, the residuals r of an example's rows become `(I - H_gg)^-1 r_g` when they are left out.

    Args:
        features: (n, R, D), R rows per example that are left out together.
        targets: (n, R, C).
    """
    examples, rows = features.shape[:2]
    if examples < 3:
        return torch.ones(examples, dtype=features.dtype)
    x, y = features.flatten(0, 1), targets.flatten(0, 1)
    left, singular, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    left, y = left.unflatten(0, (examples, rows)), (y - y.mean(0)).unflatten(0, (examples, rows))
    ones = torch.full((examples, rows, rows), 1 / (examples * rows), dtype=x.dtype)
    mean = _left_out(y, ones).clamp_min(1e-12).mean()
    errors = []
    for penalty in PENALTIES:
        shrink = singular.square() / (singular.square() + penalty * singular.square().sum()).clamp_min(1e-12)
        fitted = left * shrink @ (left.flatten(0, 1).T @ y.flatten(0, 1))
        errors.append(_left_out(y - fitted, ones + left * shrink @ left.mT) / mean)
    return min(errors, key=lambda found: found.mean().item())


def _left_out(residuals: Tensor, hat: Tensor) -> Tensor:
    """Squared errors (n,) of examples left out, from residuals (n, R, C) and their blocks of the hat matrix."""
    identity = torch.eye(hat.shape[-1], dtype=hat.dtype)
    return torch.linalg.solve(identity - hat, residuals).square().sum((1, 2))


def probe_error(features: Tensor, targets: Tensor) -> float:
    """Squared error of ridge regression at left-out examples, as a share of that of the mean; the best penalty's.

    Features (n, R, D), R rows per example that are left out together, and targets (n, R, C), in random order.
    Penalties are shares of the summed squared length of the centred features.
    """
    folds = min(FOLDS, len(features))
    if folds < 2:
        return 1.0
    fold = torch.arange(len(features)) % folds
    errors, mean_error = torch.zeros(len(PENALTIES)), targets.new_zeros(())
    for held_out in (fold == i for i in range(folds)):
        x, y = features[~held_out].flatten(0, 1), targets[~held_out].flatten(0, 1)
        new_x, new_y = features[held_out].flatten(0, 1) - x.mean(0), targets[held_out].flatten(0, 1) - y.mean(0)
        x, y = x - x.mean(0), y - y.mean(0)
        left, singular, right = torch.linalg.svd(x, full_matrices=False)
        for i, penalty in enumerate(PENALTIES):
            shrink = singular / (singular.square() + penalty * singular.square().sum()).clamp_min(1e-12)
            errors[i] += (new_y - new_x @ right.T @ (shrink[:, None] * (left.T @ y))).square().sum()
        mean_error += new_y.square().sum()
    return (errors.min() / mean_error.clamp_min(1e-12)).item()


def sample(model: AtlasModel, spec: TaskSpec, dataset: Dataset, seed: int) -> tuple[list[dict[str, Tensor]], Tensor]:
    """Inputs of a sample of the examples, in batches, the shortest texts first, and its labels."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:EXAMPLES].tolist()
    chosen, collate = dataset.select(order), AtlasCollator(spec, model.preprocessor)
    found = list(batches(chosen.select(by_length(chosen, spec)), collate, BATCH_SIZE, model.device))
    return found, torch.cat([batch.pop("labels") for batch in found])


def regression(spec: TaskSpec, pooled: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A task as a regression: features (n, R, D') and targets (n, R, C).

    Images of a pair are joined. Choices are rows of their own, as far as they differ from the example's mean choice.
    """
    if spec.choices_column:
        choices = pooled.unflatten(0, (len(labels), -1))
        targets = one_hot(labels.long(), choices.shape[1]).double() - 1 / choices.shape[1]
        return choices - choices.mean(1, keepdim=True), targets[..., None]
    features = pooled.reshape(len(labels), 1, -1)
    if labels.is_floating_point():
        return features, labels.double().reshape(len(labels), 1, -1)
    return features, one_hot(labels.long(), spec.num_labels).double()[:, None]
