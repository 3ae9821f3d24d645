"""`AtlasLayer`: a linear module with the adapters of every task that passes through it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from atlas_hf.fusion import fuse_packs
from atlas_hf.fusion.bottlenecks import Pack, compute_dtype
from atlas_hf.tuner.checks import check_heads
from atlas_hf.tuner.config import AtlasConfig
from atlas_hf.tuner.packing import PackCache, pack
from atlas_hf.tuner.route import ROUTE, Operands, Route

# What stays frozen while a task is active, by the task's stage. PEFT takes "active" for "trainable".
FROZEN = {
    "experience": ("atlas_down", "atlas_up", "atlas_key", "atlas_query"),
    "expansion": ("atlas_experience_query",),
    "complete": ("atlas_down", "atlas_up", "atlas_key", "atlas_query", "atlas_experience_query"),
}


class FrozenNames(Mapping):
    """What stays frozen of each task, by its stage now."""

    def __init__(self, configs: Mapping[str, AtlasConfig]) -> None:
        self.configs = configs

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return FROZEN[self.configs[name].stage]

    def __iter__(self) -> Iterator[str]:
        return iter(self.configs)

    def __len__(self) -> int:
        return len(self.configs)


class AtlasLayer(nn.Module, BaseTunerLayer):
    """Wraps a linear module; its output `x` goes through the fused adapters of the task at hand.

    Per task: `atlas_down` (r, D), `atlas_up` (D, r), `atlas_key` and `atlas_query` (Q, D), and, if the task reuses K
    others, `atlas_experience_query` (K, Q, D).
    """

    adapter_layer_names = ("atlas_down", "atlas_up", "atlas_key", "atlas_query", "atlas_experience_query")
    other_param_names = ("atlas_config",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: AtlasConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.atlas_down = nn.ModuleDict()
        self.atlas_up = nn.ModuleDict()
        self.atlas_key = nn.ParameterDict()
        self.atlas_query = nn.ParameterDict()
        self.atlas_experience_query = nn.ParameterDict()
        self.atlas_config: dict[str, AtlasConfig] = {}
        self._disable_adapters = False
        self._active_adapter = adapter_name
        self.merged_adapters = []
        self.packs = PackCache()
        self.may_train: set[str] = set()
        self.update_layer(adapter_name, config)

    @property
    def out_features(self) -> int:
        return self.get_base_layer().out_features

    @property
    def in_features(self) -> int:
        return self.get_base_layer().in_features

    @property
    def frozen_peft_weight_names(self) -> Mapping[str, tuple[str, ...]]:
        """PEFT asks this whenever it makes an adapter trainable."""
        return FrozenNames(self.atlas_config)

    # What is packed is forgotten at every step of a model's life that may come with other weights. Writes that torch
    # counts are noticed anyway (see `PackCache`); writes through `.data` are not, and end here.

    def _apply(self, *args: Any, **kwargs: Any) -> AtlasLayer:
        self.packs.clear()
        return super()._apply(*args, **kwargs)

    def train(self, mode: bool = True) -> AtlasLayer:
        if not (mode and self.training):  # Trainer calls `train()` in every step
            self.packs.clear()
        return super().train(mode)

    def set_adapter(self, adapter_names: str | list[str], inference_mode: bool = False) -> None:
        """As PEFT's, which goes through the tensors of all tasks: here, of those that may train or shall."""
        self.packs.clear()
        names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        trains = set() if inference_mode else set(names)
        for name in (self.may_train | trains) & self.atlas_config.keys():
            for tensor in filter(attrgetter("is_leaf"), self.tensors(name)):
                tensor.requires_grad_(name in trains)
        self._freeze_non_trainable_peft_weights(names)
        self._active_adapter, self.may_train = names, trains

    def set_requires_grad(self, adapter_names: str | Sequence[str], requires_grad: bool = True) -> None:
        self.may_train.update([adapter_names] if isinstance(adapter_names, str) else adapter_names)
        super().set_requires_grad(adapter_names, requires_grad)

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """As PEFT's, which asks about every tensor of each task."""
        found, dtype = self._get_base_layer_device_and_dtype(self.get_base_layer())
        device = device or found
        if device is None or any(tensor.is_meta for tensor in self.tensors(adapter_name)):
            return
        dtype = dtype if dtype is not None and dtype.is_floating_point else None
        for part in self.adapter_layer_names:
            values = getattr(self, part)
            if adapter_name in values:
                values[adapter_name] = values[adapter_name].to(device, dtype)

    def delete_adapter(self, adapter_name: str) -> None:
        self.packs.clear()
        super().delete_adapter(adapter_name)

    def update_layer(self, adapter_name: str, config: AtlasConfig) -> None:
        """Add a task's parameters. Raises `ValueError` if `num_heads` does not divide this site's width."""
        size, rows = self.out_features, config.num_queries
        check_heads(size, config.num_heads)
        self.atlas_config[adapter_name] = config
        self.may_train.add(adapter_name)
        self.atlas_down[adapter_name] = nn.Linear(size, config.r)
        self.atlas_up[adapter_name] = nn.Linear(config.r, size)
        self.atlas_key[adapter_name] = nn.Parameter(torch.randn(rows, size))
        self.atlas_query[adapter_name] = nn.Parameter(torch.randn(rows, size))
        if config.init_queries != "normal":
            self.atlas_query[adapter_name].data.copy_(self.atlas_key[adapter_name])
        if config.experience:
            self.atlas_experience_query[adapter_name] = nn.Parameter(self._first_queries(config))
        if config.init_weights:
            nn.init.zeros_(self.atlas_up[adapter_name].weight)
            nn.init.zeros_(self.atlas_up[adapter_name].bias)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def _first_queries(self, config: AtlasConfig) -> Tensor:
        """Where the queries over the experience start, (K, Q, D); see `AtlasConfig.init_queries`."""
        noise = torch.randn(len(config.experience), config.num_queries, self.out_features)
        if config.init_queries == "normal":
            return noise
        keys = torch.stack([self.atlas_key[name].detach().float().cpu() for name in config.experience])
        return 0.5 * noise - keys

    def keep_experience(self, task: str, kept: Sequence[int]) -> None:
        """Leave only these of the adapters that a task reuses, by their places."""
        self.packs.clear()
        queries = self.atlas_experience_query.pop(task)
        if kept:
            self.atlas_experience_query[task] = nn.Parameter(queries.detach()[list(kept)], queries.requires_grad)

    def members(self, task: str) -> list[str]:
        """The tasks whose adapters `task` adds up: its experience and, past the first stage, its own."""
        config = self.atlas_config[task]
        return config.experience + ([task] if config.stage != "experience" else [])

    def queries(self, task: str) -> Tensor:
        """(K, Q, D), in the order of `members`."""
        own = [] if self.atlas_config[task].stage == "experience" else [self.atlas_query[task][None]]
        reused = [self.atlas_experience_query[task]] if task in self.atlas_experience_query else []
        return torch.cat(reused + own)

    def keys(self, task: str) -> Tensor:
        """(K, Q, D), in the order of `members`."""
        return torch.stack([self.atlas_key[name] for name in self.members(task)])

    def tensors(self, task: str) -> tuple[Tensor, ...]:
        """All that a task owns here."""
        queries = [self.atlas_experience_query[task]] if task in self.atlas_experience_query else []
        return *self.reusable(task), self.atlas_query[task], *queries

    def reusable(self, task: str) -> tuple[Tensor, ...]:
        """What other tasks reuse of a task: down weight and bias, up weight and bias, key."""
        down, up = self.atlas_down[task], self.atlas_up[task]
        return down.weight, down.bias, up.weight, up.bias, self.atlas_key[task]

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return result
        route = ROUTE.get() or Route()
        tokens = whole_sequences(result, route.sequences)
        if route.runs is not None:
            return self._adapt_runs(tokens, route).view(result.shape)
        if route.operands is not None:
            tokens = self._adapt(tokens, route.operands[self], route) if self in route.operands else tokens
            return tokens.view(result.shape)
        for task in self.active_adapters if route.task is None else [route.task]:
            if task in self.atlas_config:
                tokens = self._adapt(tokens, self.operands(task), route)
        return tokens.view(result.shape)

    def _adapt_runs(self, result: Tensor, route: Route) -> Tensor:
        """Each run of rows with its own task; rows of tasks that are not at this site stay as they are."""
        rows = sum(count for _, count in route.runs)
        if len(result) % rows:
            raise ValueError(
                f"There are tasks for {rows} rows, and a site has {len(result)}. Name one task per example "
                "(one adapter name per row)."
            )
        sizes = [count * len(result) // rows for _, count in route.runs]
        masks = route.mask.split(sizes) if route.mask is not None and len(route.mask) == len(result) else None
        parts = []
        for i, ((task, _), part) in enumerate(zip(route.runs, result.split(sizes), strict=True)):
            own = replace(route, mask=masks and masks[i])
            parts.append(self._adapt(part, self.operands(task), own) if task in self.atlas_config else part)
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

    def operands(self, task: str) -> Operands:
        """What this site computes with for a task; weights that train as they are, others packed."""
        config = self.atlas_config[task]
        packs, keys = self._packs(task)
        return Operands(packs, self.queries(task), keys, config.num_heads, config.variant, config.weighting)

    def _packs(self, task: str) -> tuple[list[Pack], Tensor]:
        """The adapters of a task, those that train in a pack of their own, and all keys (K, Q, D)."""
        members, trained = self.members(task), []
        if torch.is_grad_enabled() and self.atlas_down[task].weight.requires_grad and task in members:
            members, trained = members[:-1], members[-1:]
        packed = [self.packs.get(self, members)] if members else []
        packed += [pack(self, trained)] if trained else []
        keys = [keys for _, keys in packed]
        return [weights for weights, _ in packed], torch.cat(keys) if len(keys) > 1 else keys[0]

    def penalized(self, task: str) -> list[Tensor]:
        """What is to be orthogonal, (K, Q D): the queries, and once the own adapter trains the keys too."""
        rows = [self.queries(task)] + ([self.keys(task)] if self.atlas_config[task].stage != "experience" else [])
        return [tensor.flatten(1) for tensor in rows]

    def reusable_digest(self, task: str, digest: hashlib._Hash) -> None:
        """Feed what other tasks reuse (adapter and key) into a hash, as float32."""
        for tensor in self.reusable(task):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy())

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise NotImplementedError(
            "An ATLAS adapter cannot be merged into the weights: its coefficients depend on the input. "
            "Use `unload()` to get the bare backbone back."
        )

    def __repr__(self) -> str:
        return "atlas." + super().__repr__()


def whole_sequences(x: Tensor, sequences: int | None) -> Tensor:
    """The windows that Swin's attention cuts a sequence into, one after another again: (B windows, W, D) -> (B, L, D).

    So an example has one coefficient per adapter there too. Anything else is returned as it is.
    """
    windows = sequences is not None and x.dim() == 3 and len(x) > sequences and len(x) % sequences == 0
    return x.reshape(sequences, -1, x.shape[-1]) if windows else x
