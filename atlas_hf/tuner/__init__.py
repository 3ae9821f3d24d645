"""ATLAS as a PEFT tuner: config, layer, tuner, and what a model around them needs. May import `fusion`.

A new backbone is an entry in `backbones`, a stage one in `stages`, a head one in `heads`.
"""

from typing import Any

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

from atlas_hf.tuner.backbones import TARGET_MODULES, backbone_of, position_limit
from atlas_hf.tuner.config import BASE, AtlasConfig, AtlasPeftType, reused_by
from atlas_hf.tuner.draws import global_draws, one_seed, own_draws
from atlas_hf.tuner.heads import Head, build_head, head_arguments, is_head_of
from atlas_hf.tuner.layer import AtlasLayer, whole_sequences
from atlas_hf.tuner.mixing import Mixture
from atlas_hf.tuner.model import AtlasTuner
from atlas_hf.tuner.packing import PackCache
from atlas_hf.tuner.pooling import pool, pool_runs, pooled_size
from atlas_hf.tuner.route import ROUTE, Route, routed
from atlas_hf.tuner.stages import PARTS, REUSED, STAGES, count_by_part, part_and_task

__all__ = [
    "BASE", "PARTS", "REUSED", "ROUTE", "STAGES", "TARGET_MODULES", "AtlasConfig", "AtlasLayer", "AtlasPeftType",
    "AtlasTuner", "Head", "Mixture", "PackCache", "Route", "backbone_of", "build_head", "count_by_part",
    "global_draws", "head_arguments", "is_head_of", "one_seed", "own_draws", "part_and_task", "pool", "pool_runs",
    "pooled_size", "position_limit", "reused_by", "routed", "whole_sequences",
]  # fmt: skip

# As PEFT's own `register_peft_method` does for the methods of its closed enum.
_KIND: Any = AtlasPeftType.ATLAS
PEFT_TYPE_TO_CONFIG_MAPPING[_KIND] = AtlasConfig
PEFT_TYPE_TO_TUNER_MAPPING[_KIND] = AtlasTuner
PEFT_TYPE_TO_PREFIX_MAPPING[_KIND] = AtlasTuner.prefix
