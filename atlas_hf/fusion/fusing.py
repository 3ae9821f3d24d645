"""The maths of ATLAS: coefficients, fusion and the orthogonality penalty. Pure functions of tensors.

Letters: B examples, L tokens, D hidden size, H heads, K adapters, r bottleneck width, Q queries per adapter (1 for
`weighting="adapter"`). Formulas: Figure 2 of arXiv 2410.10923 (variant `"paper"`) and the fusion module of the
authors' released code (variant `"reference"`); the design notes in the README tell them apart.

No tensor of shape (K, B, L, D) is made. All adapters are two matrix products over the stacked bottlenecks; the
pooling of variant `"reference"`, which attends over every adapter's own output `x + U h + u`, follows from `x`, the
bottleneck `h` and `U^T q` alone. Adapters may come in several packs, so that no gradient is computed for those that
are frozen. What is large is computed again in the backward pass, and not kept for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint

from atlas_hf.fusion.bottlenecks import KEPT, Pack, add_adapters, narrow

VARIANTS = ("paper", "reference")
WEIGHTINGS = ("adapter", "channel")


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

    Returns:
        The output (B, L, D) and the coefficients, (B, K) or (B, K, D) for `"channel"`, each in [0, 1].
    """
    pack = Pack(down_weight, down_bias, up_weight.transpose(1, 2), up_bias)
    return fuse_packs(x, [pack], query, key, num_heads=num_heads, variant=variant, weighting=weighting, mask=mask)


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
) -> tuple[Tensor, Tensor]:
    """`fuse` of adapters in several packs, whose adapters follow one another in `query` and `key` (K, Q, D).

    Of the default variant and weighting there is no second derivative.
    """
    options = {"num_heads": num_heads, "weighting": weighting, "mask": mask}
    if variant == "paper" and weighting == "adapter":
        return _fuse_function(x, packs, query, key, **options)
    compute = partial(_fuse_operations, variant=variant, **options)
    numbers = len(x) * x.shape[1] * sum(pack.down_bias.numel() for pack in packs)
    if torch.is_grad_enabled() and numbers > KEPT:
        return checkpoint(compute, x, packs, query, key, use_reentrant=False, preserve_rng_state=False)
    return compute(x, packs, query, key)


def _fuse_function(
    x: Tensor, packs: Sequence[Pack], query: Tensor, key: Tensor, num_heads: int, weighting: str, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Variant `"paper"` with one coefficient per adapter."""
    sequence = _sequence(x, query)
    coefficients = compare(pool_tokens(sequence, query, num_heads, mask), key, weighting)
    # The attention keeps its sequence for the backward pass, so there is `x`, too.
    return add_adapters(x, coefficients, packs, kept=sequence[:, -x.shape[1] :]), coefficients


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
) -> tuple[Tensor, Tensor]:
    """All variants, one operation after another."""
    sizes = [len(pack.down_bias) for pack in packs]
    hidden = [silu(narrow(x, *pack[:2])) for pack in packs]
    if variant == "paper":
        coefficients = compare(pool_tokens(_sequence(x, query), query, num_heads, mask), key, weighting)
        output = x
    else:
        queries = zip(hidden, packs, query.split(sizes), strict=True)
        pooled = [pool_adapted_tokens(x, h, pack, rows, num_heads, mask) for h, pack, rows in queries]
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


def pool_tokens(sequence: Tensor, query: Tensor, num_heads: int, mask: Tensor | None) -> Tensor:
    """Each adapter's queries attend over themselves and the tokens: (B, K Q + L, D), (K, Q, D) -> (B, K, Q, D).

    One attention call serves all adapters: the K Q queries stand in front of the tokens, and a block-diagonal mask
    lets each see only its own adapter's. No projections; the scale is 1 / sqrt(D), not of the head size.
    """
    adapters, queries, size = query.shape
    rows = split_heads(query.to(sequence.dtype).flatten(0, 1).expand(len(sequence), -1, -1), num_heads)
    heads = split_heads(sequence, num_heads)
    visible = _visible(sequence, adapters, queries, mask)
    pooled = scaled_dot_product_attention(rows, heads, heads, attn_mask=visible, scale=1 / math.sqrt(size))
    return pooled.transpose(1, 2).reshape(-1, *query.shape)


def _visible(sequence: Tensor, adapters: int, queries: int, mask: Tensor | None) -> Tensor:
    """What each query row sees, boolean: (B or 1, 1, K Q, K Q + L)."""
    rows = adapters * queries
    owner = torch.arange(adapters, device=sequence.device).repeat_interleave(queries)
    own = (owner[:, None] == owner).expand(1 if mask is None else len(sequence), 1, -1, -1)
    if mask is None:
        tokens = own.new_ones(1, 1, rows, sequence.shape[1] - rows)
    else:
        tokens = mask.bool()[:, None, None].expand(-1, -1, rows, -1)
    return torch.cat([own, tokens], dim=-1)


def pool_adapted_tokens(
    x: Tensor, hidden: Tensor, pack: Pack, query: Tensor, num_heads: int, mask: Tensor | None
) -> Tensor:
    """Like `pool_tokens`, but adapter i's queries attend over its own output `y = x + U_i h_i + u_i`.

    Per head, the score `q . y` is `q . x + (U^T q) . h + q . u`, and the pooled `sum_l p_l y_l` is
    `sum_l p_l x_l + U (sum_l p_l h_l) + u sum_l p_l`, so `y` itself is never made.

    Shapes: x (B, L, D), hidden (B, L, K, r), query (K, Q, D) -> (B, K, Q, D). Inside, h counts heads, c channels of
    a head.
    """
    _, queries, size = query.shape
    x_heads, q, up, bias = (
        tensor.unflatten(-1, (num_heads, -1)) for tensor in (x, query, pack.up_weight, pack.up_bias)
    )
    folded = torch.einsum("krhc,kqhc->khqr", up, q)
    scores = torch.einsum("blhc,kqhc->bkhql", x_heads, q) + torch.einsum("blkr,khqr->bkhql", hidden, folded)
    scores = scores + torch.einsum("khc,kqhc->khq", bias, q)[..., None]
    if mask is not None:
        scores = scores.masked_fill(~mask.bool()[:, None, None, None], -math.inf)
    own = torch.einsum("kqhc,kphc->khqp", q, q).expand(len(x), -1, -1, -1, -1)
    weights = (torch.cat([own, scores], dim=-1) / math.sqrt(size)).softmax(-1)
    own, tokens = weights[..., :queries], weights[..., queries:]
    pooled = torch.einsum("bkhqp,kphc->bkqhc", own, q) + torch.einsum("bkhql,blhc->bkqhc", tokens, x_heads)
    narrow = torch.einsum("bkhql,blkr->bkhqr", tokens, hidden)
    pooled = pooled + torch.einsum("bkhqr,krhc->bkqhc", narrow, up)
    return (pooled + torch.einsum("bkhq,khc->bkqhc", tokens.sum(-1), bias)).flatten(-2)


def split_heads(rows: Tensor, num_heads: int) -> Tensor:
    """(B, N, D) -> (B, H, N, D / H)."""
    return rows.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def compare(pooled: Tensor, key: Tensor, weighting: str) -> Tensor:
    """`(cos(pooled, key) + 1) / 2`: (B, K, Q, D), (K, Q, D) -> (B, K), or (B, K, D) with the cosine over Q."""
    axis = -1 if weighting == "adapter" else -2
    cosine = (normalize(pooled, dim=axis, eps=1e-8) * normalize(key, dim=axis, eps=1e-8)).sum(axis)
    return (cosine.squeeze(-1) if weighting == "adapter" else cosine).add(1).div(2)


def orthogonality(rows: Tensor) -> Tensor:
    """`mean((T T^t - I)^2) / (n m)` of T (..., n, m): 0 when the rows are orthonormal. Shape (...)."""
    count, size = rows.shape[-2:]
    identity = torch.eye(count, dtype=rows.dtype, device=rows.device)
    return (rows @ rows.mT - identity).square().mean((-2, -1)) / (count * size)
