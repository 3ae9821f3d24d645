"""`AtlasLayer`: a linear module with the adapters of every task that passes through it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from atlas_hf.fusion import compute_dtype, fuse_packs
from atlas_hf.tuner.checks import check_deletable
from atlas_hf.tuner.config import AtlasConfig
from atlas_hf.tuner.packing import PackCache, pack
from atlas_hf.tuner.parameters import TaskParameters
from atlas_hf.tuner.route import ROUTE, Operands, Route


class AtlasLayer(TaskParameters):
    """Wraps a linear module; its output `x` goes through the fused adapters of the task at hand."""

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: AtlasConfig) -> None:
        super().__init__(base_layer, adapter_name)
        self.packs = PackCache()
        self.update_layer(adapter_name, config)

    # What is packed is forgotten, here and nowhere else, at every step of a model's life that may come with other
    # weights. Writes that torch counts are noticed anyway (see `PackCache`); writes through `.data` are not, and end
    # here.

    def _apply(self, *args: Any, **kwargs: Any) -> AtlasLayer:
        self.packs.clear()
        return super()._apply(*args, **kwargs)

    def train(self, mode: bool = True) -> AtlasLayer:
        """As that of every module."""
        if not (mode and self.training):  # Trainer calls `train()` in every step
            self.packs.clear()
        return super().train(mode)

    def update_layer(self, adapter_name: str, config: AtlasConfig) -> None:
        """As that of every tuner."""
        self.packs.clear()
        super().update_layer(adapter_name, config)

    def set_adapter(self, adapter_names: str | list[str], inference_mode: bool = False) -> None:
        """As PEFT's."""
        self.packs.clear()
        super().set_adapter(adapter_names, inference_mode)

    def delete_adapter(self, adapter_name: str) -> None:
        """As PEFT's; transformers' `delete_adapter` asks the sites alone."""
        check_deletable(adapter_name, self.atlas_config)
        self.packs.clear()
        super().delete_adapter(adapter_name)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the wrapped module makes of `x`, adapted for the tasks of the call's route: (..., D)."""
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return result
        route = ROUTE.get() or Route()
        tokens = whole_sequences(result, route.sequences)
        if route.runs is not None:
            return self._adapt_runs(tokens, route.runs, route).view(result.shape)
        if route.operands is not None:
            tokens = self._adapt(tokens, route.operands[self], route) if self in route.operands else tokens
            return tokens.view(result.shape)
        for task in self.active_adapters if route.task is None else [route.task]:
            if self.adapts(task):
                tokens = self._adapt(tokens, self.operands(task), route)
        return tokens.view(result.shape)

    def _adapt_runs(self, result: Tensor, runs: tuple[tuple[str, int], ...], route: Route) -> Tensor:
        """Each run of rows with its own task; rows of tasks that are not at this site stay as they are."""
        rows = sum(count for _, count in runs)
        if len(result) % rows:
            raise ValueError(
                f"There are tasks for {rows} rows, and a site has {len(result)}. Name one task per example "
                "(one adapter name per row)."
            )
        sizes = [count * len(result) // rows for _, count in runs]
        masks = route.mask.split(sizes) if route.mask is not None and len(route.mask) == len(result) else None
        parts = []
        for i, ((task, _), part) in enumerate(zip(runs, result.split(sizes), strict=True)):
            own = replace(route, mask=masks and masks[i])
            parts.append(self._adapt(part, self.operands(task), own) if self.adapts(task) else part)
        return torch.cat(parts)

    def _adapt(self, result: Tensor, operands: Operands, route: Route) -> Tensor:
        """(..., D) -> (..., D); a result without a token axis is one token per example."""
        x = result.to(compute_dtype(operands.key))
        x = x[:, None] if x.dim() == 2 else x
        mask = route.mask if route.mask is not None and route.mask.shape == x.shape[:2] else None
        output, coefficients = fuse_packs(x, **operands._asdict(), mask=mask)
        if route.coefficients is not None:
            route.coefficients[self] = coefficients.detach()
        return output.view(result.shape).to(result.dtype)

    def adapts(self, task: str) -> bool:
        """Is there an adapter, of this task or one that it reuses, for its rows to pass through?"""
        return task in self.atlas_config and bool(self.members(task))

    def operands(self, task: str) -> Operands:
        """What this site computes with for a task; weights that train as they are, in a pack of their own."""
        config, members, trained = self.atlas_config[task], self.members(task), []
        if torch.is_grad_enabled() and task in members and self.atlas_down[task].weight.requires_grad:
            members, trained = members[:-1], members[-1:]
        packed = [self.packs.get(self, members)] if members else []
        packed += [pack(self, trained)] if trained else []
        packs, keys = [weights for weights, _ in packed], [keys for _, keys in packed]
        key = torch.cat(keys) if len(keys) > 1 else keys[0]
        how = config.pooling_heads, config.variant, config.weighting, config.token_weight
        return Operands(packs, self.queries(task), key, *how)

    def __repr__(self) -> str:
        return "atlas." + super().__repr__()


def whole_sequences(x: Tensor, sequences: int | None) -> Tensor:
    """The windows that a sequence is cut into, one after another again: (B windows, W, D) -> (B, L, D).

    So an example has one coefficient per adapter there too. Without a number of sequences, and where there is one row
    for each, `x` is returned as it is.
    """
    if sequences is None or x.dim() != 3 or len(x) == sequences or len(x) % sequences:
        return x
    return x.reshape(sequences, -1, x.shape[-1])
