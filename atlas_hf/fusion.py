"""The maths of ATLAS: coefficients, fusion and the orthogonality penalty. Pure functions of tensors.

Letters: B examples, L tokens, D hidden size, H heads, K adapters, r bottleneck width, Q queries per adapter (1 for
`weighting="adapter"`). Formulas: Figure 2 of arXiv 2410.10923 (variant `"paper"`) and the fusion module of the
authors' released code (variant `"reference"`); the design notes in the README tell them apart.

No tensor of shape (K, B, L, D) is made. All adapters are two matrix products over the stacked bottlenecks; the
pooling of variant `"reference"`, which attends over every adapter's own output `x + U h + u`, follows from `x`, the
bottleneck `h` and `U^T q` alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention, silu

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
    hidden = bottleneck(x, down_weight, down_bias)
    if variant == "paper":
        pooled = pool_tokens(x, query, num_heads, mask)
    else:
        pooled = pool_adapted_tokens(x, hidden, up_weight, up_bias, query, num_heads, mask)
    coefficients = compare(pooled, key, weighting)
    update = expand(hidden, up_weight, up_bias, coefficients)
    if variant == "paper":
        return x + update, coefficients
    residual = coefficients.sum(1)
    return x * (residual[:, None, None] if weighting == "adapter" else residual[:, None]) + update, coefficients


def bottleneck(x: Tensor, down_weight: Tensor, down_bias: Tensor) -> Tensor:
    """`silu(D_i x + d_i)` of all adapters in one matrix product: (B, L, D) -> (B, L, K, r)."""
    hidden = torch.nn.functional.linear(x, down_weight.flatten(0, 1), down_bias.flatten())
    return silu(hidden).unflatten(-1, down_bias.shape)


def expand(hidden: Tensor, up_weight: Tensor, up_bias: Tensor, coefficients: Tensor) -> Tensor:
    """`sum_i alpha_i (U_i h_i + u_i)` in one matrix product: (B, L, K, r) -> (B, L, D).

    A coefficient per adapter scales its bottleneck. A coefficient per channel scales the rows of `U_i`, which gives
    one (D, K r) matrix per example: smaller than K outputs, since r is smaller than L.
    """
    if coefficients.dim() == 2:
        scaled = (hidden * coefficients[:, None, :, None]).flatten(2)
        return scaled @ up_weight.transpose(1, 2).flatten(0, 1) + (coefficients @ up_bias)[:, None]
    weight = torch.einsum("bkd,kdr->bkrd", coefficients, up_weight).flatten(1, 2)
    return torch.baddbmm((coefficients * up_bias).sum(1)[:, None], hidden.flatten(2), weight)


def pool_tokens(x: Tensor, query: Tensor, num_heads: int, mask: Tensor | None) -> Tensor:
    """Each adapter's queries attend over themselves and the tokens: (B, L, D), (K, Q, D) -> (B, K, Q, D).

    One attention call serves all adapters: the K Q queries stand in front of the tokens, and a block-diagonal mask
    lets each see only its own adapter's. No projections; the scale is 1 / sqrt(D), not of the head size.
    """
    batch, _, size = x.shape
    rows = query.flatten(0, 1).expand(batch, -1, -1)
    sequence = torch.cat([rows, x], dim=1)
    pooled = scaled_dot_product_attention(
        split_heads(rows, num_heads),
        split_heads(sequence, num_heads),
        split_heads(sequence, num_heads),
        attn_mask=_visible(x, query, mask),
        scale=1 / math.sqrt(size),
    )
    return pooled.transpose(1, 2).reshape(batch, *query.shape)


def _visible(x: Tensor, query: Tensor, mask: Tensor | None) -> Tensor:
    """What each query row sees, boolean: (B or 1, 1, K Q, K Q + L)."""
    adapters, queries, _ = query.shape
    owner = torch.arange(adapters, device=x.device).repeat_interleave(queries)
    own = (owner[:, None] == owner).expand(1 if mask is None else len(x), 1, -1, -1)
    if mask is None:
        tokens = own.new_ones(1, 1, len(owner), x.shape[1])
    else:
        tokens = mask.bool()[:, None, None].expand(-1, -1, len(owner), -1)
    return torch.cat([own, tokens], dim=-1)


def pool_adapted_tokens(
    x: Tensor, hidden: Tensor, up_weight: Tensor, up_bias: Tensor, query: Tensor, num_heads: int, mask: Tensor | None
) -> Tensor:
    """Like `pool_tokens`, but adapter i's queries attend over its own output `y = x + U_i h_i + u_i`.

    Per head, the score `q . y` is `q . x + (U^T q) . h + q . u`, and the pooled `sum_l p_l y_l` is
    `sum_l p_l x_l + U (sum_l p_l h_l) + u sum_l p_l`, so `y` itself is never made.

    Shapes: x (B, L, D), hidden (B, L, K, r), query (K, Q, D) -> (B, K, Q, D). Inside, h counts heads, c channels of
    a head.
    """
    adapters, queries, size = query.shape
    x_heads, q = x.unflatten(-1, (num_heads, -1)), query.unflatten(-1, (num_heads, -1))
    up, bias = up_weight.unflatten(1, (num_heads, -1)), up_bias.unflatten(-1, (num_heads, -1))
    folded = torch.einsum("khcr,kqhc->khqr", up, q)
    scores = torch.einsum("blhc,kqhc->bkhql", x_heads, q) + torch.einsum("blkr,khqr->bkhql", hidden, folded)
    scores = scores + torch.einsum("khc,kqhc->khq", bias, q)[..., None]
    if mask is not None:
        scores = scores.masked_fill(~mask.bool()[:, None, None, None], -math.inf)
    own = torch.einsum("kqhc,kphc->khqp", q, q).expand(len(x), -1, -1, -1, -1)
    weights = (torch.cat([own, scores], dim=-1) / math.sqrt(size)).softmax(-1)
    own, tokens = weights[..., :queries], weights[..., queries:]
    pooled = torch.einsum("bkhqp,kphc->bkqhc", own, q) + torch.einsum("bkhql,blhc->bkqhc", tokens, x_heads)
    narrow = torch.einsum("bkhql,blkr->bkhqr", tokens, hidden)
    pooled = pooled + torch.einsum("bkhqr,khcr->bkqhc", narrow, up)
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
    """`mean((T T^t - I)^2) / (n m)` of T (n, m): 0 when the rows are orthonormal. A scalar."""
    count, size = rows.shape
    identity = torch.eye(count, dtype=rows.dtype, device=rows.device)
    return (rows @ rows.T - identity).square().mean() / (count * size)
