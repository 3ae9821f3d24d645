"""The methods that the benchmark compares, one file each.

All of them have the same backbone, Trainer, data, seeds, batches, optimizer steps and heads; they differ in what
trains and in what is added to the loss. One method more is a file with a subclass of `Method`, and a line in `METHODS`
(with its import). May import every room below the benchmark.
"""

from __future__ import annotations

from atlas_hf.benchmark.methods.adapter import Adapter
from atlas_hf.benchmark.methods.adapter_two_stage import AdapterTwoStage
from atlas_hf.benchmark.methods.atlas import Atlas, AtlasReference
from atlas_hf.benchmark.methods.base import Cost, LoadedTask, Method, Setting
from atlas_hf.benchmark.methods.ewc import EWC
from atlas_hf.benchmark.methods.experience_replay import ExperienceReplay
from atlas_hf.benchmark.methods.freeze_bottom import FreezeBottom
from atlas_hf.benchmark.methods.freeze_encoder import FreezeEncoder
from atlas_hf.benchmark.methods.fusion import Fusion
from atlas_hf.benchmark.methods.joint import Joint
from atlas_hf.benchmark.methods.lora import Lora
from atlas_hf.benchmark.methods.lwf import LwF
from atlas_hf.benchmark.methods.sequential_ft import SequentialFT

# By name, in the order of tables.
METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        SequentialFT,
        FreezeEncoder,
        FreezeBottom,
        Adapter,
        AdapterTwoStage,
        Fusion,
        Lora,
        EWC,
        LwF,
        ExperienceReplay,
        Joint,
        Atlas,
        AtlasReference,
    )
}

__all__ = ["METHODS", "Cost", "LoadedTask", "Method", "Setting"]
