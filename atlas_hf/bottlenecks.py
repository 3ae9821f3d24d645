"""The bottlenecks, weighted and added up by one autograd function that keeps little for the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, pad, silu

# Numbers of a bottleneck that are kept for the backward pass; more are computed again. At four adapters of width 48 on
# 8 x 185 tokens it is a quarter of what the site's attention keeps anyway, at sixteen as much.
KEPT = 2**19


class Pack(NamedTuple):
    """Adapters as the matrix products take them: the up weights transposed."""

    down_weight: Tensor  # (K, r, D)
    down_bias: Tensor  # (K, r)
    up_weight: Tensor  # (K, r, D)
    up_bias: Tensor  # (K, D)


def narrow(x: Tensor, pack: Pack) -> Tensor:
    """`D_i x + d_i` of all adapters in one matrix product: (B, L, D) -> (B, L, K, r)."""
    return linear(x, pack.down_weight.flatten(0, 1), pack.down_bias.flatten()).unflatten(-1, pack.down_bias.shape)


def compute_dtype(x: Tensor) -> torch.dtype:
    """What autocast, if it is on, would convert `x` to for a matrix product."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def add_adapters(x: Tensor, coefficients: Tensor, packs: Sequence[Pack], kept: Tensor | None = None) -> Tensor:
    """`x + sum_i alpha_i (U_i silu(D_i x + d_i) + u_i)`: (B, L, D), (B, K) -> (B, L, D).

    The backward pass needs the bottlenecks. Small ones are kept for it, large ones (`KEPT`) computed again, which is
    a quarter more of the adapters' matrix products in a step that trains none of them. It cannot be differentiated
    again.

    Args:
        packs: their adapters follow one another in `coefficients`.
        kept: the values of `x` in memory that lives until the backward pass anyway; by default `x` itself.
    """
    dtype = compute_dtype(x)
    weights = [tensor.to(dtype) for pack in _widened(packs) for tensor in pack]
    return _AddAdapters.apply(x.to(dtype), (x if kept is None else kept).detach().to(dtype), coefficients, *weights)


def _widened(packs: Sequence[Pack]) -> Sequence[Pack]:
    """Narrower bottlenecks filled up with zeros, which add nothing: silu(0) = 0."""
    gaps = [max(pack.down_bias.shape[1] for pack in packs) - pack.down_bias.shape[1] for pack in packs]
    return [
        Pack(pad(down, (0, 0, 0, gap)), pad(bias, (0, gap)), pad(up, (0, 0, 0, gap)), up_bias) if gap else pack
        for gap, pack in zip(gaps, packs, strict=True)
        for down, bias, up, up_bias in [pack]
    ]


def _joined(weights: Sequence[Tensor]) -> Pack:
    """Packs of one width, one after the other in `weights`, as one. Cheaper than products for each."""
    return Pack(*(torch.cat(weights[i::4]) for i in range(4))) if len(weights) > 4 else Pack(*weights)


class _AddAdapters(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, coefficients: Tensor, *weights: Tensor) -> Tensor:
        pack, alpha = _joined(weights), coefficients[:, None, :, None]
        before = narrow(x, pack)
        keep = before.numel() <= KEPT and any(ctx.needs_input_grad)
        ctx.save_for_backward(before if keep else None, kept, coefficients, *weights)
        scaled = silu(before, inplace=not keep).mul_(alpha).flatten(2).flatten(0, 1)
        output = torch.addmm(x.flatten(0, 1), scaled, pack.up_weight.flatten(0, 1)).view(x.shape)
        return output.add_((coefficients @ pack.up_bias)[:, None])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        before, x, coefficients, *weights = ctx.saved_tensors
        pack, alpha = _joined(weights), coefficients[:, None, :, None]
        rows, total = gradient.flatten(0, 1), gradient.sum(1)
        before = narrow(x, pack) if before is None else before
        hidden = silu(before)
        to_scaled = (rows @ pack.up_weight.flatten(0, 1).T).view(hidden.shape)
        to_coefficients = (to_scaled * hidden).sum((1, 3), dtype=alpha.dtype) + total @ pack.up_bias.T
        to_before = torch.ops.aten.silu_backward(to_scaled.mul_(alpha), before)
        to_x = torch.addmm(rows, to_before.flatten(2).flatten(0, 1), pack.down_weight.flatten(0, 1))
        to_weights, start = [None] * len(weights), 0
        for i in range(0, len(weights), 4):
            own = slice(start, start + len(weights[i]))
            if any(ctx.needs_input_grad[3 + i : 7 + i]):
                scaled = hidden[:, :, own] * alpha[:, :, own]
                to_weights[i : i + 4] = [
                    _product(to_before[:, :, own], x),
                    to_before[:, :, own].sum((0, 1)),
                    _product(scaled, gradient),
                    coefficients[:, own].T.to(total.dtype) @ total,
                ]
            start = own.stop
        return to_x.view(gradient.shape), None, to_coefficients, *to_weights


def _product(narrowed: Tensor, wide: Tensor) -> Tensor:
    """Summed over all tokens: (B, L, K, r), (B, L, D) -> (K, r, D)."""
    product = narrowed.flatten(2).flatten(0, 1).T @ wide.flatten(0, 1)
    return product.view(*narrowed.shape[2:], -1)
