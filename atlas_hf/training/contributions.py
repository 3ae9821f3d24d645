"""What each adapter adds to a task: not how much of it is let through (its coefficient), but what that comes to."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.functional import silu

from atlas_hf.data import batches
from atlas_hf.model import AtlasModel, evaluating
from atlas_hf.tuner import ROUTE, AtlasLayer, routed, whole_sequences

EXAMPLES = 256


def contributions(model: AtlasModel, task: str, dataset: Dataset, batch_size: int = 32) -> dict[str, float]:
    """What each adapter that a task adds up adds at its sites, as a share of what it adds to; its own comes last.

    At a site, for adapter i: the mean of `|alpha_i f_i(x)| / |x|` over the tokens of (at most 256) examples, padding
    left out; of `|alpha_i (x + f_i(x))| / |x|` in the reference variant. Given is the largest over the sites. An
    adapter that has not learned adds nothing, whatever its coefficient (in the reference variant its residual).
    """
    collate, members = model.collator(task), model.members(task)
    if not members:
        return {}
    rows = dataset.select(range(min(len(dataset), EXAMPLES)))
    with torch.no_grad(), evaluating(model) as twin, _measuring(twin, task) as shares:
        for inputs in batches(rows, collate.inputs, batch_size, model.device):
            twin.pooled(task, **inputs)
    means = torch.stack([torch.cat(found, 1).mean(1) for found in shares.values()])
    return dict(zip(members, means.max(0).values.tolist(), strict=True))


@contextmanager
def _measuring(model: AtlasModel, task: str) -> Iterator[dict[AtlasLayer, list[Tensor]]]:
    """Within the block, every forward call leaves the shares (K, tokens) of the K adapters at each site."""
    shares: dict[AtlasLayer, list[Tensor]] = defaultdict(list)

    def keep(site: AtlasLayer, linear: nn.Module, args: Sequence[Any], output: Tensor) -> None:
        if (route := ROUTE.get()) and route.coefficients is coefficients:  # no other thread's
            outputs[site] = output

    def measure(site: AtlasLayer, args: Sequence[Any], output: Tensor) -> None:
        if not (route := ROUTE.get()) or route.coefficients is not coefficients:
            return
        x = whole_sequences(outputs.pop(site).to(site.tensors(task)[0].dtype), route.sequences)
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
    """(K, tokens) of the K adapters at a site; x (B, L, D), coefficients (B, K) or (B, K, D), mask (B, L)."""
    config = site.atlas_config[task]
    tokens = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    tokens = mask.bool() if mask is not None and mask.shape == x.shape[:2] else tokens
    shares = []
    for place, name in enumerate(site.members(task)):
        added = site.atlas_up[name](silu(site.atlas_down[name](x))) + (x if config.variant == "reference" else 0)
        added = coefficients[:, place].reshape(len(x), 1, -1) * added
        shares.append((added.norm(dim=-1) / x.norm(dim=-1).clamp_min(1e-12))[tokens])
    return torch.stack(shares)
