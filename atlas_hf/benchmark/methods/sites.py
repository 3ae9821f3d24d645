"""The sites that ATLAS adapts by default, for the baselines that sit there, too."""

from __future__ import annotations

from peft.tuners.tuners_utils import check_target_module_exists
from torch import nn

from atlas_hf.tuner import AtlasConfig
from atlas_hf.tuner.backbones import TARGET_MODULES


def sites(backbone: nn.Module) -> dict[str, nn.Module]:
    """The linear modules by path, in the order of the backbone."""
    config = AtlasConfig(target_modules=TARGET_MODULES[backbone.config.model_type])
    return {path: module for path, module in backbone.named_modules() if check_target_module_exists(config, path)}
