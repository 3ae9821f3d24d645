"""Adapters that are weighted and added up, as one autograd function which keeps next to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import linear, silu


KEPT = 2**20


class Pack(NamedTuple):
    """Adapters as the matrix products take them: the up weights transposed."""

    down_weight: Tensor  # (K, r, D)
    down_bias: Tensor  # (K, r)
    up_weight: Tensor  # (K, r, D)
    up_bias: Tensor  # (K, D)


def narrow(x: Tensor, pack: Pack) -> Tensor:
    """`D_i x + d_i` of all adapters in one matrix product: (B, L, D) -> (B, L, K, r)."""
    return linear(x, pack.down_weight.flatten(0, 1), pack.down_bias.flatten()).unflatten(-1, pack.down_bias.shape)


def add_adapters(x: Tensor, coefficients: Tensor, packs: Sequence[Pack], kept: Tensor | None = None) -> Tensor:
    """`x + sum_i alpha_i (U_i silu(D_i x + d_i) + u_i)`: (B, L, D), (B, K) -> (B, L, D).

    The backward pass computes the bottlenecks again: a quarter more of the adapters' matrix products in a training
    step, and no tensor of shape (B, L, K, r) from the forward pass to the backward pass. It cannot be differentiated
    again.

    Args:
        packs: their adapters follow one another in `coefficients`; all in the type of `x`.
        kept: the values of `x` in memory that lives until the backward pass anyway; by default `x` itself.
    """
    kept = x if kept is None else kept
    return _AddAdapters.apply(x, kept.detach(), coefficients, *(tensor for pack in packs for tensor in pack))


class _AddAdapters(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, coefficients: Tensor, *weights: Tensor) -> Tensor:
        output, narrowed = x, []
        for pack, alpha in _weighted(weights, coefficients):
            before = narrow(x, pack)
            again = before.numel() > KEPT or not any(ctx.needs_input_grad)
            narrowed.append(None if again else before)
            scaled = silu(before, inplace=again).mul_(alpha[:, None, :, None]).flatten(2).flatten(0, 1)
            output = torch.addmm(output.flatten(0, 1), scaled, pack.up_weight.flatten(0, 1)).view(x.shape)
            output += (alpha @ pack.up_bias)[:, None]
        ctx.save_for_backward(kept, coefficients, *weights, *narrowed)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, coefficients, *saved = ctx.saved_tensors
        weights, narrowed = saved[: len(saved) * 4 // 5], saved[len(saved) * 4 // 5 :]
        total = gradient.sum(1)
        to_x, to_coefficients, to_weights = gradient.flatten(0, 1), [], []
        for i, (pack, alpha) in enumerate(_weighted(weights, coefficients)):
            before = narrow(x, pack) if narrowed[i] is None else narrowed[i]
            hidden = silu(before)
            to_scaled = (gradient.flatten(0, 1) @ pack.up_weight.flatten(0, 1).T).view(hidden.shape)
            to_coefficients.append((to_scaled * hidden).sum((1, 3), dtype=alpha.dtype) + total @ pack.up_bias.T)
            to_before = torch.ops.aten.silu_backward(to_scaled.mul_(alpha[:, None, :, None]), before)
            to_x = torch.addmm(to_x, to_before.flatten(2).flatten(0, 1), pack.down_weight.flatten(0, 1))
            if any(ctx.needs_input_grad[3 + 4 * i : 7 + 4 * i]):
                scaled = hidden * alpha[:, None, :, None]
                to_weights += _to_weights(x, to_before, scaled, gradient, alpha.T.to(total.dtype) @ total)
            else:
                to_weights += [None] * 4
        return to_x.view(x.shape), None, torch.cat(to_coefficients, dim=1), *to_weights


def _weighted(weights: Sequence[Tensor], coefficients: Tensor) -> Iterator[tuple[Pack, Tensor]]:
    """Each pack with the coefficients of its adapters."""
    packs = [Pack(*weights[i : i + 4]) for i in range(0, len(weights), 4)]
    return zip(packs, coefficients.split([len(pack.up_bias) for pack in packs], dim=1), strict=True)


def _to_weights(x: Tensor, to_before: Tensor, scaled: Tensor, gradient: Tensor, to_up_bias: Tensor) -> list[Tensor]:
    """The gradients of a pack, from those of what its down projections give and of the output."""
    to_down = torch.einsum("blkr,bld->krd", to_before, x)
    return [to_down, to_before.sum((0, 1)), torch.einsum("blkr,bld->krd", scaled, gradient), to_up_bias]
