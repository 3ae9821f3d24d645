"""The bottlenecks, weighted and added up by one autograd function that keeps little for the backward pass."""

from collections.abc import Iterable, Sequence
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


def narrow(x: Tensor, down_weight: Tensor, down_bias: Tensor) -> Tensor:
    """`D_i x + d_i` of all adapters in one matrix product: (B, L, D) -> (B, L, K, r)."""
    return linear(x, down_weight.flatten(0, 1), down_bias.flatten()).unflatten(-1, down_bias.shape)


def compute_dtype(x: Tensor) -> torch.dtype:
    """What autocast, if it is on, would convert `x` to for a matrix product."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def add_adapters(x: Tensor, coefficients: Tensor, packs: Sequence[Pack], kept: Tensor | None = None) -> Tensor:
    """`x + sum_i alpha_i (U_i silu(D_i x + d_i) + u_i)`: (B, L, D), (B, K) -> (B, L, D).

    The backward pass needs the bottlenecks. Small ones are kept for it, large ones (`KEPT`) computed again, which is
    a quarter more of the adapters' matrix products in a step that trains none of them. It cannot be differentiated
    again. The adapters of the packs follow one another in `coefficients`.

    Args:
        kept: the values of `x` in memory that lives until the backward pass anyway; by default `x` itself.
    """
    dtype = compute_dtype(x)
    weights = [tensor.to(dtype) for pack in widened(packs) for tensor in pack]
    return _AddAdapters.apply(x.to(dtype), (x if kept is None else kept).detach().to(dtype), coefficients, *weights)


def widened(packs: Sequence[Pack]) -> list[Pack]:
    """All as wide as the widest bottleneck, by zeros, which add nothing: silu(0) = 0. The axis K may be missing."""
    widest = max(pack.down_bias.shape[-1] for pack in packs)
    return [_filled(pack, widest - pack.down_bias.shape[-1]) for pack in packs]


def _filled(pack: Pack, gap: int) -> Pack:
    if not gap:
        return pack
    below = (0, 0, 0, gap)
    return Pack(pad(pack.down_weight, below), pad(pack.down_bias, (0, gap)), pad(pack.up_weight, below), pack.up_bias)


def _joined(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """All adapters in one tensor, whose copy costs less than a product for each pack."""
    return torch.cat(tensors) if len(tensors) > 1 else tensors[0]


class _AddAdapters(torch.autograd.Function):
    """The weights come as those of `Pack`, one pack after the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, coefficients: Tensor, *weights: Tensor) -> Tensor:
        pack, alpha = Pack(*(_joined(weights[i::4]) for i in range(4))), coefficients[:, None, :, None]
        before = narrow(x, pack.down_weight, pack.down_bias)
        keep = before.numel() <= KEPT and any(ctx.needs_input_grad)
        ctx.save_for_backward(before if keep else None, kept, coefficients, *weights)
        scaled = silu(before, inplace=not keep).mul_(alpha).flatten(2).flatten(0, 1)
        output = torch.addmm(x.flatten(0, 1), scaled, pack.up_weight.flatten(0, 1)).view(x.shape)
        return output.add_((coefficients @ pack.up_bias)[:, None])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        before, x, coefficients, *weights = ctx.saved_tensors
        rows, total, alpha = gradient.flatten(0, 1), gradient.sum(1), coefficients[:, None, :, None]
        trained = _trained(weights, ctx.needs_input_grad[3:])
        if before is None:
            before = narrow(x, _joined(weights[0::4]), _joined(weights[1::4]))
        hidden = silu(before)
        to_up = _to_up(hidden, alpha, rows, trained.values())
        to_scaled = (rows @ _joined(weights[2::4]).flatten(0, 1).T).view(hidden.shape)
        to_coefficients = hidden.mul_(to_scaled).sum((1, 3), dtype=alpha.dtype) + total @ _joined(weights[3::4]).T
        del hidden  # the peak of memory follows
        to_before = torch.ops.aten.silu_backward(to_scaled.mul_(alpha), before)
        to_x = torch.addmm(rows, to_before.flatten(2).flatten(0, 1), _joined(weights[0::4]).flatten(0, 1))
        to_weights: list[Tensor | None] = [None] * len(weights)
        for (i, own), up in zip(trained.items(), to_up, strict=True):
            down, own_alpha = to_before[:, :, own], coefficients[:, own].to(total.dtype)
            to_weights[i : i + 4] = _product(down, x.flatten(0, 1)), down.sum((0, 1)), up, own_alpha.T @ total
        return to_x.view(gradient.shape), None, to_coefficients, *to_weights


def _trained(weights: Sequence[Tensor], needed: Sequence[bool]) -> dict[int, slice]:
    """Where in `weights` a pack begins that needs gradients, and which adapters it holds."""
    found, start = {}, 0
    for i in range(0, len(weights), 4):
        if any(needed[i : i + 4]):
            found[i] = slice(start, start + len(weights[i]))
        start += len(weights[i])
    return found


def _to_up(hidden: Tensor, alpha: Tensor, rows: Tensor, trained: Iterable[slice]) -> list[Tensor]:
    """The gradients of the up weights that train. A comprehension in `backward` would keep dynamo from its `del`."""
    return [_product(hidden[:, :, own] * alpha[:, :, own].to(hidden.dtype), rows) for own in trained]


def _product(narrowed: Tensor, rows: Tensor) -> Tensor:
    """Summed over all tokens: (B, L, K, r), (B L, D) -> (K, r, D)."""
    return (narrowed.flatten(2).flatten(0, 1).T @ rows).view(*narrowed.shape[2:], -1)
