"""The reference: ATLAS as its formulas read, one adapter after the other. `fuse` is checked against it, and timed."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, linear, scaled_dot_product_attention, silu


def bottleneck(x: Tensor, down_weight: Tensor, down_bias: Tensor, up_weight: Tensor, up_bias: Tensor) -> Tensor:
    """`f(x) = U silu(D x + d) + u` of one adapter: (..., D) -> (..., D)."""
    return linear(silu(linear(x, down_weight, down_bias)), up_weight, up_bias)


def fuse_loop(
    x: Tensor,
    down_weight: Sequence[Tensor] | Tensor,
    down_bias: Sequence[Tensor] | Tensor,
    up_weight: Sequence[Tensor] | Tensor,
    up_bias: Sequence[Tensor] | Tensor,
    query: Sequence[Tensor] | Tensor,
    key: Sequence[Tensor] | Tensor,
    *,
    num_heads: int,
    variant: str,
    weighting: str,
    mask: Tensor | None = None,
    token_weight: str = "each",
) -> tuple[Tensor, Tensor]:
    """As `atlas_hf.fusion.fuse`, by the same names; sequences of adapters may have bottlenecks of several widths."""
    output, coefficients = x if variant == "paper" else torch.zeros_like(x), []
    for *weights, own_query, own_key in zip(down_weight, down_bias, up_weight, up_bias, query, key, strict=True):
        update = bottleneck(x, *weights)
        adapted = x if variant == "paper" else x + update
        pooled = _pool(adapted, own_query, num_heads, mask, token_weight)
        alpha = (cosine_similarity(pooled, own_key, dim=-1 if weighting == "adapter" else 1, eps=1e-8) + 1) / 2
        output = output + alpha[:, None] * (update if variant == "paper" else adapted)
        coefficients.append(alpha[:, 0] if weighting == "adapter" else alpha)
    return output, torch.stack(coefficients, dim=1)


def _pool(tokens: Tensor, query: Tensor, num_heads: int, mask: Tensor | None, token_weight: str) -> Tensor:
    """The queries attend over themselves and the tokens that are seen: (B, L, D), (Q, D) -> (B, Q, D)."""
    rows = torch.cat([query.expand(len(tokens), -1, -1), tokens], dim=1).unflatten(-1, (num_heads, -1)).transpose(1, 2)
    count, scale = len(query), 1 / math.sqrt(tokens.shape[-1])
    seen = None if mask is None else torch.cat([mask.new_ones(len(mask), count), mask], dim=1).bool()[:, None, None]
    if token_weight == "shared":
        here = torch.ones_like(tokens[..., 0]) if mask is None else mask.to(tokens)
        scores = (here / here.sum(1, keepdim=True).clamp(min=1)).log()  # -inf where hidden
        seen = torch.cat([scores.new_zeros(len(scores), count), scores], dim=1)[:, None, None]
    pooled = scaled_dot_product_attention(rows[:, :, :count], rows, rows, attn_mask=seen, scale=scale)
    return pooled.transpose(1, 2).flatten(2)
