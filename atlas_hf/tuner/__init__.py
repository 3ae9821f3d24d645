"""ATLAS as a PEFT tuner: config, layer, tuner, and what a model around them needs. May import `fusion`.

A new backbone is an entry in `backbones`, a stage one in `stages`, a head one in `heads`.
"""

import peft  # noqa: F401 (first: importing it registers ATLAS, which imports this room)

from atlas_hf.tuner.backbones import BACKBONES, TARGET_MODULES, Backbone, backbone_of
from atlas_hf.tuner.config import BASE, AtlasConfig, AtlasPeftType
from atlas_hf.tuner.heads import Head, build_head, head_arguments
from atlas_hf.tuner.layer import AtlasLayer
from atlas_hf.tuner.mixing import Mixture
from atlas_hf.tuner.model import AtlasTuner
from atlas_hf.tuner.pooling import pool, pool_runs, pooled_size
from atlas_hf.tuner.registration import register
from atlas_hf.tuner.route import ROUTE, Route, routed
from atlas_hf.tuner.stages import PARTS, REUSED, STAGES, count_by_part, part_and_task

__all__ = [
    "BACKBONES",
    "BASE",
    "PARTS",
    "REUSED",
    "ROUTE",
    "STAGES",
    "TARGET_MODULES",
    "AtlasConfig",
    "AtlasLayer",
    "AtlasPeftType",
    "AtlasTuner",
    "Backbone",
    "Head",
    "Mixture",
    "Route",
    "backbone_of",
    "build_head",
    "count_by_part",
    "head_arguments",
    "part_and_task",
    "pool",
    "pool_runs",
    "pooled_size",
    "register",
    "routed",
]
