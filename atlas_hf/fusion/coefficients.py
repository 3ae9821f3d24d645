"""How much each adapter counts for an example: queries pool the tokens, and the result is compared with the keys.

Letters: B examples, L tokens, D hidden size, H heads, K adapters, r bottleneck width, Q queries per adapter (1 for
`weighting="adapter"`). Formulas: Figure 2 of arXiv 2410.10923; for `pool_adapted_tokens` the fusion module of the
authors' released code.

Both count each token as much as a query (`token_weight="each"`), so the more tokens there are, the less do the queries
count, and the nearer to 1/2 are the coefficients. With `"shared"` the n tokens that take part have the weight of one
token together: `log n` is taken from their scores. Then a coefficient does not depend on how long the text is.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention

from atlas_hf.fusion.bottlenecks import Pack


def pool_tokens(
    sequence: Tensor, query: Tensor, num_heads: int, mask: Tensor | None, token_weight: str = "each"
) -> Tensor:
    """Each adapter's queries attend over themselves and the tokens: (B, K Q + L, D), (K, Q, D) -> (B, K, Q, D).

    One attention call serves all adapters: the K Q queries stand in front of the tokens, and a block-diagonal mask
    lets each see only its own adapter's. No projections; the scale is 1 / sqrt(D), not of the head size.
    """
    adapters, queries, size = query.shape
    rows = split_heads(query.to(sequence.dtype).flatten(0, 1).expand(len(sequence), -1, -1), num_heads)
    heads = split_heads(sequence, num_heads)
    visible = _visible(sequence, adapters, queries, mask)
    if token_weight == "shared":
        visible = _shared(visible, adapters * queries, rows.dtype)
    pooled = scaled_dot_product_attention(rows, heads, heads, attn_mask=visible, scale=1 / math.sqrt(size))
    return pooled.transpose(1, 2).reshape(-1, *query.shape)


def _visible(sequence: Tensor, adapters: int, queries: int, mask: Tensor | None) -> Tensor:
    """What each query row sees, boolean: (B or 1, 1, K Q, K Q + L)."""
    rows = adapters * queries
    owner = torch.arange(adapters, device=sequence.device).repeat_interleave(queries)
    own = owner[:, None] == owner
    tokens = own.new_ones(1, sequence.shape[1] - rows) if mask is None else mask.bool()
    return torch.cat([own.expand(len(tokens), 1, -1, -1), tokens[:, None, None].expand(-1, -1, rows, -1)], dim=-1)


def _shared(visible: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """What to add to the scores, so that of what is visible all behind the first `rows` columns counts as one."""
    own, tokens = visible[:1, ..., :rows], visible[:, :, :1, rows:]
    count = _log_count(tokens.flatten(1), dtype).to(dtype)[:, None, None, None]
    bias = torch.cat([own.new_zeros(len(visible), 1, 1, rows, dtype=dtype), -count.expand(tokens.shape)], dim=-1)
    return bias.masked_fill(~visible, -math.inf)


def _log_count(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """`log n` of the tokens that take part, as exact as the type and not less than float32: (B, L) -> (B,)."""
    return seen.sum(-1, dtype=torch.promote_types(dtype, torch.float32)).clamp(min=1).log()


def pool_adapted_tokens(
    x: Tensor,
    hidden: Tensor,
    pack: Pack,
    query: Tensor,
    num_heads: int,
    mask: Tensor | None,
    token_weight: str = "each",
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
    if token_weight == "shared":
        seen = torch.ones_like(x[:1, :, 0]) if mask is None else mask.bool()
        count = (_log_count(seen, scores.dtype) * math.sqrt(size)).to(scores.dtype)
        scores = scores - count[:, None, None, None, None]
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
    """The penalty `mean((T T^t - I)^2) / (n m)` of T (..., n, m), shape (...): 0 when the rows are orthonormal."""
    count, size = rows.shape[-2:]
    identity = torch.eye(count, dtype=rows.dtype, device=rows.device)
    return (rows @ rows.mT - identity).square().mean((-2, -1)) / (count * size)
