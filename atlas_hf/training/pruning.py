"""Which reused adapters add next to nothing to a learned task, and the task without them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.functional import silu

from atlas_hf.data import batches
from atlas_hf.model import AtlasModel, evaluating
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.task_trainer import score
from atlas_hf.tuner import ROUTE, AtlasLayer, routed

EXAMPLES = 256


@dataclass(frozen=True)
class Pruned:
    """What `prune_experience` dropped, by which `contributions`, and the task's metric before and after."""

    dropped: list[str]
    contributions: dict[str, float]
    before: float
    after: float


def prune_experience(
    model: AtlasModel, task: str, dataset: Dataset, threshold: float = 0.01, args: AtlasTrainingArguments | None = None
) -> Pruned:
    """Let a learned task no longer reuse adapters that contribute less than `threshold`.

    It then computes less, and loads without them. Its answers change: the metric before and after says how much, and
    the latter is kept as the task's score. `model.save_pretrained` writes the task as it is then.

    Args:
        dataset: with the columns of the task's `TaskSpec`; what the contributions and the metric are measured on.
        threshold: a share of the vectors that an adapter adds to, see `contributions`.
        args: for the evaluation, its batch size for example.

    Raises a `ValueError` for a task that is unknown, or still being learned.
    """
    found = contributions(model, task, dataset)
    dropped = [name for name, share in found.items() if share < threshold]
    with TemporaryDirectory() as folder:
        args = args or AtlasTrainingArguments(folder, report_to="none")
        before = score(model, task, dataset, args)
        model.drop_experience(task, dropped)
        after = score(model, task, dataset, args) if dropped else before
    model.metrics.setdefault(task, {})[model.specs[task].metric] = after
    return Pruned(dropped, found, before, after)


def contributions(model: AtlasModel, task: str, dataset: Dataset, batch_size: int = 32) -> dict[str, float]:
    """What each adapter that a task reuses adds at its sites, as a share of what it adds to.

    At a site, for adapter i: the mean of `|alpha_i f_i(x)| / |x|` over the tokens of (at most 256) examples, padding
    left out; of `|alpha_i (x + f_i(x))| / |x|` in the reference variant. Given is the largest over the sites.
    """
    collate, reused = model.collator(task), model.peft_config[task].experience
    if not reused:
        return {}
    rows = dataset.select(range(min(len(dataset), EXAMPLES)))
    with torch.no_grad(), evaluating(model) as twin, _measuring(twin, task) as shares:
        for inputs in batches(rows, collate.inputs, batch_size, model.device):
            twin.pooled(task, **inputs)
    means = torch.stack([torch.cat(found, 1).mean(1) for found in shares.values()])
    return dict(zip(reused, means.max(0).values.tolist(), strict=True))


@contextmanager
def _measuring(model: AtlasModel, task: str) -> Iterator[dict[AtlasLayer, list[Tensor]]]:
    """Within the block, every forward call leaves the shares (K, tokens) of the K reused adapters at each site."""
    shares: dict[AtlasLayer, list[Tensor]] = defaultdict(list)

    def keep(site: AtlasLayer, linear: nn.Module, args: Sequence[Any], output: Tensor) -> None:
        if (route := ROUTE.get()) and route.coefficients is coefficients:  # no other thread's
            outputs[site] = output

    def measure(site: AtlasLayer, args: Sequence[Any], output: Tensor) -> None:
        if not (route := ROUTE.get()) or route.coefficients is not coefficients:
            return
        x = outputs.pop(site).to(site.tensors(task)[0].dtype)
        x = x[:, None] if x.dim() == 2 else x
        shares[site].append(_shares(site, task, x, coefficients[site], route.mask))

    outputs: dict[AtlasLayer, Tensor] = {}
    coefficients: dict[AtlasLayer, Tensor] = {}
    with ExitStack() as hooks, routed(coefficients=coefficients):
        for site in model.base_model.sites_of(task).values():
            hooks.callback(site.base_layer.register_forward_hook(partial(keep, site)).remove)
            hooks.callback(site.register_forward_hook(measure).remove)
        yield shares


def _shares(site: AtlasLayer, task: str, x: Tensor, coefficients: Tensor, mask: Tensor | None) -> Tensor:
    """(K, tokens) of the K reused adapters at a site; x (B, L, D), coefficients (B, K) or (B, K, D), mask (B, L)."""
    config = site.atlas_config[task]
    tokens = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    tokens = mask.bool() if mask is not None and mask.shape == x.shape[:2] else tokens
    shares = []
    for place, name in enumerate(config.experience):
        added = site.atlas_up[name](silu(site.atlas_down[name](x))) + (x if config.variant == "reference" else 0)
        added = coefficients[:, place].reshape(len(x), 1, -1) * added
        shares.append((added.norm(dim=-1) / x.norm(dim=-1).clamp_min(1e-12))[tokens])
    return torch.stack(shares)
