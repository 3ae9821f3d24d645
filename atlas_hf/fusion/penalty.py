"""The orthogonality penalty, which keeps the queries and keys of a task apart."""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonality(rows: Tensor) -> Tensor:
    """`mean((T T^t - I)^2) / (n m)` of T (..., n, m): 0 when the rows are orthonormal. Shape (...)."""
    count, size = rows.shape[-2:]
    identity = torch.eye(count, dtype=rows.dtype, device=rows.device)
    return (rows @ rows.mT - identity).square().mean((-2, -1)) / (count * size)
