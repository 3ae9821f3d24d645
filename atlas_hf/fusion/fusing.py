"""The fusion of several adapters at a site: weighed for each example and added up.

Letters as in `atlas_hf.fusion.coefficients`. Formulas: Figure 2 of arXiv 2410.10923 (variant `"paper"`) and the fusion
module of the authors' released code (variant `"reference"`); the design notes in the README tell them apart. No tensor
of shape (K, B, L, D) is made. Adapters come in several packs so that those that are frozen cost no gradient.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import silu
from torch.utils.checkpoint import checkpoint

from atlas_hf.fusion.bottlenecks import KEPT, Pack, add_adapters, narrow
from atlas_hf.fusion.coefficients import compare, pool_adapted_tokens, pool_tokens

VARIANTS = ("paper", "reference")
WEIGHTINGS = ("adapter", "channel")
TOKEN_WEIGHTS = ("each", "shared")


def fuse(
    x: Tensor,
    down_weight: Tensor,
    down_bias: Tensor,
    up_weight: Tensor,
    up_bias: Tensor,
    query: Tensor,
    key: Tensor,
    *,
    num_heads: int,
    variant: str,
    weighting: str,
    mask: Tensor | None = None,
    token_weight: str = "each",
) -> tuple[Tensor, Tensor]:
    """Weigh K adapters for each example by what its tokens hold, and add them up.

    Args:
        x: (B, L, D), the output of the wrapped linear module.
        down_weight: (K, r, D); down_bias: (K, r); up_weight: (K, D, r); up_bias: (K, D).
        query, key: (K, Q, D).
        num_heads: H, a divisor of D.
        variant: `"paper"` attends over `x` and adds `x` once; `"reference"` attends over each adapter's `x + f(x)`
            and adds that.
        weighting: `"adapter"` for one coefficient per adapter (Q = 1), `"channel"` for one per hidden channel.
        mask: (B, L), non-zero where a token takes part in the pooling; None for all.
        token_weight: `"each"`, as published, for tokens that each count as much as a query in the pooling, so that
            coefficients depend on the length; `"shared"` for tokens that count as one together.

    Returns:
        The output (B, L, D) and the coefficients, (B, K) or (B, K, D) for `"channel"`, each in [0, 1].
    """
    pack = Pack(down_weight, down_bias, up_weight.transpose(1, 2), up_bias)
    options = {"variant": variant, "weighting": weighting, "token_weight": token_weight}
    return fuse_packs(x, [pack], query, key, num_heads=num_heads, mask=mask, **options)


def fuse_packs(
    x: Tensor,
    packs: Sequence[Pack],
    query: Tensor,
    key: Tensor,
    *,
    num_heads: int,
    variant: str,
    weighting: str,
    mask: Tensor | None = None,
    token_weight: str = "each",
) -> tuple[Tensor, Tensor]:
    """`fuse` of adapters in several packs, whose adapters follow one another in `query` and `key` (K, Q, D).

    Of the default variant and weighting there is no second derivative.
    """
    if variant == "paper" and weighting == "adapter":
        sequence = _sequence(x, query)
        coefficients = compare(pool_tokens(sequence, query, num_heads, mask, token_weight), key, weighting)
        # The attention keeps its sequence for the backward pass, so there is `x`, too.
        return add_adapters(x, coefficients, packs, kept=sequence[:, -x.shape[1] :]), coefficients
    compute = partial(
        _fuse_operations,
        num_heads=num_heads,
        variant=variant,
        weighting=weighting,
        mask=mask,
        token_weight=token_weight,
    )
    numbers = len(x) * x.shape[1] * sum(pack.down_bias.numel() for pack in packs)
    if torch.is_grad_enabled() and numbers > KEPT:
        return checkpoint(compute, x, packs, query, key, use_reentrant=False, preserve_rng_state=False)
    return compute(x, packs, query, key)


def _fuse_operations(
    x: Tensor,
    packs: Sequence[Pack],
    query: Tensor,
    key: Tensor,
    *,
    num_heads: int,
    variant: str,
    weighting: str,
    mask: Tensor | None,
    token_weight: str,
) -> tuple[Tensor, Tensor]:
    """All variants, one operation after another."""
    sizes = [len(pack.down_bias) for pack in packs]
    hidden = [silu(narrow(x, *pack[:2])) for pack in packs]
    if variant == "paper":
        pooled_tokens = pool_tokens(_sequence(x, query), query, num_heads, mask, token_weight)
        coefficients = compare(pooled_tokens, key, weighting)
        output = x
    else:
        queries = zip(hidden, packs, query.split(sizes), strict=True)
        pooled = [pool_adapted_tokens(x, h, pack, rows, num_heads, mask, token_weight) for h, pack, rows in queries]
        coefficients = compare(torch.cat(pooled, dim=1), key, weighting)
        output = x * coefficients.sum(1).view(len(x), 1, -1)
    for h, pack, weights in zip(hidden, packs, coefficients.split(sizes, dim=1), strict=True):
        output = output + expand(h, pack, weights)
    return output, coefficients


def _sequence(x: Tensor, query: Tensor) -> Tensor:
    """All queries in front of each example's tokens: (B, L, D), (K, Q, D) -> (B, K Q + L, D)."""
    return torch.cat([query.to(x.dtype).flatten(0, 1).expand(len(x), -1, -1), x], dim=1)


def expand(hidden: Tensor, pack: Pack, coefficients: Tensor) -> Tensor:
    """`sum_i alpha_i (U_i h_i + u_i)` in one matrix product: (B, L, K, r) -> (B, L, D).

    A coefficient per adapter scales its bottleneck. A coefficient per channel scales the rows of `U_i`, which gives
    one (D, K r) matrix per example: smaller than K outputs, since r is smaller than L.
    """
    if coefficients.dim() == 2:
        scaled = (hidden * coefficients[:, None, :, None]).flatten(2)
        return scaled @ pack.up_weight.flatten(0, 1) + (coefficients @ pack.up_bias)[:, None]
    weight = (coefficients[:, :, None] * pack.up_weight).flatten(1, 2)
    return torch.baddbmm((coefficients * pack.up_bias).sum(1)[:, None], hidden.flatten(2), weight)
