"""What can be wrong with a new task; everything is checked before the model is changed."""

from collections.abc import Mapping, Set
from itertools import product
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from atlas_hf.tuner.config import AtlasConfig, reused_by
from atlas_hf.tuner.heads import HEAD_PARTS

# What a task and those that it reuses have in common. `token_weight`, because a task may begin with their queries.
AGREED = ("target_modules", "exclude_modules", "layers_to_transform", "weighting", "num_queries", "token_weight")


def check_name(name: str, taken: Set[str]) -> None:
    """PEFT finds an adapter's tensors by `.name.` in their paths, so a name must not be part of another path."""
    taken = taken | {*HEAD_PARTS, "atlas_head", "base_layer"}
    attribute = hasattr(nn.ModuleDict(), name) or hasattr(nn.ParameterDict(), name)
    if name in taken or attribute or name.isdigit() or "." in name:
        raise ValueError(
            f"Task name {name!r} is not allowed: it is a digit, holds a dot, is an attribute of torch's dicts, "
            f"or is part of a module path of this model ({', '.join(sorted(taken)[:12])}, ...), so PEFT could "
            f"not tell its tensors from others. Choose another, for example 'task-{name.replace('.', '-')}'."
        )


def check_sites(sites: Mapping[str, nn.Module], config: AtlasConfig) -> None:
    """The modules to adapt, by path, are linear, and `num_heads` divides their widths."""
    for path, module in sites.items():
        base: Any = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
        if not (hasattr(base, "in_features") and hasattr(base, "out_features")):
            raise ValueError(
                f"Target module {base} is not supported. The site '{path}' is a {type(base).__name__}; a site must "
                f"be a linear module. Name linear modules in target_modules (given: {config.target_modules!r})."
            )
        check_heads(base.out_features, config.pooling_heads)


def check_heads(size: int, num_heads: int) -> None:
    """The pooling attention's heads divide a site's width."""
    if size % num_heads:
        raise ValueError(
            f"num_heads is {num_heads}, which does not divide the site's width {size}; give one that does."
        )


def check_experience(name: str, configs: Mapping[str, AtlasConfig], digests: Mapping[str, str]) -> None:
    """Every reused task is here, fits, and is what it was when this task was learned."""
    config, others = configs[name], [task for task in configs if task != name]
    missing = [task for task in config.experience if task not in others]
    if missing:
        raise ValueError(
            f"Task '{name}' reuses {missing}, which this model does not hold (it holds {others}). "
            "Load or learn the reused tasks first."
        )
    bare = [task for task in config.experience if not configs[task].own_adapter]
    if bare:
        raise ValueError(
            f"Task '{name}' reuses {bare}, without an adapter of their own. Name those that they reuse: "
            f"{sorted({reused for task in bare for reused in configs[task].experience})}."
        )
    for task, field in product(config.experience, AGREED):
        mine, theirs = getattr(config, field), getattr(configs[task], field)
        if comparable(mine) != comparable(theirs):
            raise ValueError(
                f"Task '{name}' has {field}={mine!r} and reuses '{task}', which has {theirs!r}; a task and what "
                "it reuses must agree in this. Use the same value, or leave the task out of experience."
            )
    for task, then in config.experience_sha256.items():
        now = digests.get(task, then)
        if now != then:
            raise ValueError(
                f"Task '{name}' was learned on another version of '{task}': sha256 {now[:12]}... now, "
                f"{then[:12]}... then. Restore the '{task}' it was learned with."
            )


def check_deletable(name: str, configs: Mapping[str, AtlasConfig]) -> None:
    """No other task reuses it: those would have nothing to compute with."""
    if name in configs and (users := reused_by(name, configs)):
        raise ValueError(
            f"Task '{name}' cannot be deleted: {', '.join(map(repr, users))} reuse(s) it. Delete those first, or keep "
            "it."
        )


def comparable(value: Any) -> Any:
    """Lists of layers compare by what they hold, as the sets of names do."""
    return set(value) if isinstance(value, (list, tuple)) else value
