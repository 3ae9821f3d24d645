"""Where a task's parameters are, by the keys that PEFT gives them in the task's file."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from atlas_hf.tuner.parameters import TaskParameters


def slots(task: str, sites: Mapping[str, TaskParameters], heads: nn.ModuleDict) -> dict[str, tuple[nn.Module, str]]:
    """By key, the modules that own the parameters and their names there; sites by their paths, heads by task."""
    found: dict[str, tuple[nn.Module, str]] = {}
    for path, site in sites.items():
        for part in site.adapter_layer_names:
            owner, key = getattr(site, part), f"base_model.model.{path}.{part}"
            if task in owner:
                found |= _inside(key, owner[task]) if isinstance(owner, nn.ModuleDict) else {key: (owner, task)}
    return found | (_inside("base_model.atlas_head", heads[task]) if task in heads else {})


def _inside(key: str, module: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    return {
        ".".join(filter(None, (key, path, name))): (owner, name)
        for path, owner in module.named_modules()
        for name, _ in owner.named_parameters(recurse=False)
    }
