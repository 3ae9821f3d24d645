"""The methods that the benchmark compares: they differ in what trains and in what is added to the loss.

One method more is a file with a subclass of `Method`, and a name in `METHODS`. May import every room below.
"""

from atlas_hf.benchmark.methods.adapter import Adapter, AdapterHeadFirst, AdapterTwoStage
from atlas_hf.benchmark.methods.adapter_copy import AdapterCopy
from atlas_hf.benchmark.methods.atlas import Atlas, AtlasPaper, AtlasReference
from atlas_hf.benchmark.methods.base import Cost, Method, Setting
from atlas_hf.benchmark.methods.ewc import EWC
from atlas_hf.benchmark.methods.experience_replay import ExperienceReplay
from atlas_hf.benchmark.methods.fine_tuned import FineTuned
from atlas_hf.benchmark.methods.fusion import Fusion
from atlas_hf.benchmark.methods.joint import Joint
from atlas_hf.benchmark.methods.linear_probe import LinearProbe
from atlas_hf.benchmark.methods.lora import Lora, LoraHeadFirst
from atlas_hf.benchmark.methods.lwf import LwF
from atlas_hf.benchmark.methods.plain_model import LoadedTask, PlainModel
from atlas_hf.benchmark.methods.sequential_ft import FreezeBottom, FreezeEncoder, HeadAlone, SequentialFT

# By name, in the order of tables.
METHODS: dict[str, type[Method]] = {method.name: method for method in (
    SequentialFT, FreezeEncoder, HeadAlone, LinearProbe, FreezeBottom, FineTuned, Adapter, AdapterTwoStage,
    AdapterHeadFirst, AdapterCopy, Fusion, Lora, LoraHeadFirst, EWC, LwF, ExperienceReplay, Joint, Atlas, AtlasPaper,
    AtlasReference,
)}  # fmt: skip

__all__ = ["METHODS", "Cost", "LoadedTask", "Method", "PlainModel", "Setting"]
