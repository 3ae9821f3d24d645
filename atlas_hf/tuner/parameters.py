"""What every task owns at a site, where it starts, and what of it trains."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from atlas_hf.tuner.checks import check_heads
from atlas_hf.tuner.config import AtlasConfig, trained_parts
from atlas_hf.tuner.stages import PARTS, STAGES


class TaskParameters(nn.Module, BaseTunerLayer):
    """The parameters of all tasks at a site, in dicts by task.

    Per task: `atlas_down` (r, D), `atlas_up` (D, r), `atlas_key` and `atlas_query` (Q, D), and, if the task reuses K
    others, `atlas_experience_query` (K, Q, D).
    """

    adapter_layer_names = ("atlas_down", "atlas_up", "atlas_key", "atlas_query", "atlas_experience_query")
    other_param_names = ("atlas_config",)

    def __init__(self, base_layer: nn.Module, adapter_name: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        base: Any = self.get_base_layer()
        self.in_features, self.out_features = base.in_features, base.out_features
        self.atlas_down = nn.ModuleDict()
        self.atlas_up = nn.ModuleDict()
        self.atlas_key = nn.ParameterDict()
        self.atlas_query = nn.ParameterDict()
        self.atlas_experience_query = nn.ParameterDict()
        self.atlas_config: dict[str, AtlasConfig] = {}
        self._disable_adapters = False
        self._active_adapter = adapter_name
        self.merged_adapters = []

    @property
    def frozen_peft_weight_names(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]  # an attribute
        """What stays frozen of each task, by its stage now: PEFT asks whenever it lets one train."""
        return _Frozen(self)

    def update_layer(self, adapter_name: str, config: AtlasConfig) -> None:
        """Add a task's parameters. Raises `ValueError` if `num_heads` does not divide this site's width."""
        size, rows = self.out_features, config.query_rows
        check_heads(size, config.pooling_heads)
        self.atlas_config[adapter_name] = config
        if config.own_adapter:
            self._add_adapter(adapter_name, config, size, rows)
        if config.experience:
            self.atlas_experience_query[adapter_name] = nn.Parameter(self._first_queries(config))
        self._move_adapter_to_device_of_base_layer(adapter_name)
        # Those that were here before stay as they are, as PEFT has it since 0.21.
        self.let_train(adapter_name, adapter_name in self.active_adapters and not config.inference_mode)

    def _add_adapter(self, task: str, config: AtlasConfig, size: int, rows: int) -> None:
        self.atlas_down[task] = nn.Linear(size, config.r)
        self.atlas_up[task] = up = nn.Linear(config.r, size)
        self.atlas_key[task] = nn.Parameter(torch.randn(rows, size))
        self.atlas_query[task] = nn.Parameter(torch.randn(rows, size))
        if config.init_queries != "normal":
            self.atlas_query[task].data.copy_(self.atlas_key[task])
        if config.init_weights:
            nn.init.zeros_(up.weight)
            nn.init.zeros_(up.bias)

    def drop_adapter(self, task: str) -> None:
        """Forget a task's own adapter, key and query, if it has them."""
        for owner in (self.atlas_down, self.atlas_up, self.atlas_key, self.atlas_query):
            if task in owner:
                del owner[task]

    def query_over(self, task: str, member: str) -> Tensor:
        """A task's query over one of its `members`, (Q, D)."""
        if member == task:
            return self.atlas_query[task]
        return self.atlas_experience_query[task][self.atlas_config[task].experience.index(member)]

    def set_experience(self, task: str, queries: Sequence[Tensor]) -> None:
        """Give a task these queries (Q, D), one for each task that it is to reuse; a stage lets them train."""
        if task in self.atlas_experience_query:
            del self.atlas_experience_query[task]
        if queries:
            first = torch.stack([query.detach() for query in queries])
            self.atlas_experience_query[task] = nn.Parameter(first, requires_grad=False)

    def _first_queries(self, config: AtlasConfig) -> Tensor:
        """Where the queries over the experience start, (K, Q, D); see `AtlasConfig.init_queries`."""
        noise = torch.randn(len(config.experience), config.query_rows, self.out_features)
        if config.init_queries == "normal":
            return noise
        keys = torch.stack([self.atlas_key[name].detach().float().cpu() for name in config.experience])
        return 0.5 * noise - keys

    def query_starts(self, task: str) -> Tensor:
        """Where the queries over the experience may start, opposed and normal: (2, K, Q, D); see `AtlasConfig`.

        Of a task in its first stage whose queries are as `_first_queries` opposed them to the keys. The normal ones
        are the noise that was drawn then, but for rounding.
        """
        opposed = self.atlas_experience_query[task].detach()
        return torch.stack([opposed, 2 * (opposed + self.keys(task).detach())])

    def start_queries(self, task: str, starts: Tensor, opened: Collection[int]) -> None:
        """Let the queries over the adapters at the places `opened` start as normal ones, the others opposed."""
        with torch.no_grad():
            for place, query in enumerate(self.atlas_experience_query[task]):
                query.copy_(starts[int(place in opened), place])

    def keep_experience(self, task: str, kept: Sequence[int]) -> None:
        """Leave only these of the adapters that a task reuses, by their places."""
        queries = self.atlas_experience_query.pop(task)
        if kept:
            self.atlas_experience_query[task] = nn.Parameter(queries.detach()[list(kept)], queries.requires_grad)

    def members(self, task: str) -> list[str]:
        """The tasks whose adapters `task` adds up: its experience and, past the first stage, its own."""
        return self.atlas_config[task].experience + ([task] if self._own_takes_part(task) else [])

    def _own_takes_part(self, task: str) -> bool:
        config = self.atlas_config[task]
        return config.own_adapter and STAGES[config.stage].own

    def queries(self, task: str) -> Tensor:
        """(K, Q, D), in the order of `members`."""
        own = [self.atlas_query[task][None]] if self._own_takes_part(task) else []
        reused = [self.atlas_experience_query[task]] if task in self.atlas_experience_query else []
        return torch.cat(reused + own)

    def keys(self, task: str) -> Tensor:
        """(K, Q, D), in the order of `members`."""
        return torch.stack([self.atlas_key[name] for name in self.members(task)])

    def penalized(self, task: str) -> list[Tensor]:
        """What is to be orthogonal, (K, Q D): the queries, and once the own adapter trains the keys too."""
        rows = [self.queries(task)] if self.members(task) else []
        rows += [self.keys(task)] if self._own_takes_part(task) else []
        return [tensor.flatten(1) for tensor in rows]

    def tensors(self, task: str) -> tuple[Tensor, ...]:
        """All that a task owns here."""
        queries = [owner[task] for owner in (self.atlas_query, self.atlas_experience_query) if task in owner]
        return *self.reusable(task), *queries

    def reusable(self, task: str) -> tuple[Tensor, ...]:
        """What other tasks reuse of a task: down weight and bias, up weight and bias, key; nothing without adapter."""
        if not self.atlas_config[task].own_adapter:
            return ()
        down: Any = self.atlas_down[task]
        up: Any = self.atlas_up[task]
        return down.weight, down.bias, up.weight, up.bias, self.atlas_key[task]

    # Methods of PEFT that go through the tensors of all tasks, written again for the tasks at hand. At 256 tasks and
    # 24 sites, on one core beside other work, adding a task takes 11 ms and choosing one 27 ms; with PEFT's
    # `set_adapter` 24 and 150, with its `_move_adapter_to_device_of_base_layer` 119 and 24, with all that is PEFT's,
    # here and in `AtlasTuner`, 1,095 and 126.

    def set_adapter(self, adapter_names: str | list[str], inference_mode: bool = False) -> None:
        """As PEFT's: what trains follows from who is active, in which stage, and from nothing that was before."""
        names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        active = () if inference_mode else self.atlas_config.keys() & set(names)
        for task, tensor in self._training():
            if task not in active and tensor.is_leaf:
                tensor.requires_grad_(False)
        for task in active:
            self.let_train(task, True)
        self._active_adapter = names

    def let_train(self, task: str, trains: bool) -> None:
        """Make what a task's stage trains trainable, or nothing of it."""
        trained = trained_parts(task, self.atlas_config) if trains else ()
        for part in self.adapter_layer_names:
            if task in (owner := getattr(self, part)):
                value = owner[task]
                for tensor in value.parameters() if isinstance(value, nn.Module) else [value]:
                    if tensor.is_leaf:
                        tensor.requires_grad_(part in trained)

    def _training(self) -> Iterator[tuple[str, Tensor]]:
        """What requires a gradient here, with its task; quickly, for there may be thousands that do not."""
        for owner in (getattr(self, part) for part in self.adapter_layer_names):
            for name, tensor in owner._parameters.items():  # noqa: SLF001
                if tensor.requires_grad:
                    yield name, tensor
            for name, module in owner._modules.items():  # noqa: SLF001
                for tensor in module._parameters.values():  # noqa: SLF001
                    if tensor.requires_grad:
                        yield name, tensor

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        found, dtype = self._get_base_layer_device_and_dtype(self.get_base_layer())
        device = device or found
        if device is not None and not any(tensor.is_meta for tensor in self.tensors(adapter_name)):
            self._move(adapter_name, device, dtype if dtype is not None and dtype.is_floating_point else None)

    def move_to_base_layer(self, task: str) -> None:
        """Put a task on the device of the wrapped module. The type stays, whatever the backbone's is."""
        self._move(task, self._get_base_layer_device_and_dtype(self.get_base_layer())[0], None)

    def cast(self, task: str, dtype: torch.dtype) -> None:
        """Give a task's parameters another type."""
        self._move(task, None, dtype)

    def _move(self, task: str, device: torch.device | None, dtype: torch.dtype | None) -> None:
        """Torch's dicts would make what moves trainable."""
        for part in self.adapter_layer_names:
            values = getattr(self, part)
            if task in values:
                value = values[task]
                moved = value.to(device=device, dtype=dtype)
                values[task] = moved if moved is value else nn.Parameter(moved.detach(), value.requires_grad)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Refused: raises `NotImplementedError`."""
        raise NotImplementedError(
            "An ATLAS adapter cannot be merged into the weights: its coefficients depend on the input. "
            "Use `unload()` to get the bare backbone back."
        )

    def unmerge(self) -> None:
        """As PEFT's of what was not merged."""
        warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)


class _Frozen(Mapping[str, tuple[str, ...]]):
    """A view, so that what PEFT holds of it knows no task that was deleted since."""

    def __init__(self, site: TaskParameters) -> None:
        self._configs = site.atlas_config

    def __getitem__(self, task: str) -> tuple[str, ...]:
        trained = trained_parts(task, self._configs)
        return tuple(part for part in PARTS if part not in trained)

    def __iter__(self) -> Iterator[str]:
        return iter(self._configs)

    def __len__(self) -> int:
        return len(self._configs)
