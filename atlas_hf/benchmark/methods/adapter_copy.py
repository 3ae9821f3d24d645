"""A copy of the adapters that help most, trained on: the other thing to do with a task that is like an earlier one."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import cast

import torch
from datasets import Dataset
from torch import nn

from atlas_hf.benchmark.methods.adapter import Adapter, Bottleneck
from atlas_hf.benchmark.methods.atlas import Atlas
from atlas_hf.benchmark.methods.base import Method, PlainTrainer, Setting, stage_steps
from atlas_hf.benchmark.methods.plain_model import LoadedTask
from atlas_hf.model import AtlasModel
from atlas_hf.training import AtlasTrainingArguments, mean_coefficients
from atlas_hf.training.head_start import learn_head
from atlas_hf.training.quiet import train_quietly
from atlas_hf.training.sources import find_sources
from atlas_hf.tuner import AtlasLayer


class AdapterCopy(Adapter):
    """It begins where ATLAS begins, with ATLAS's head, and trains on what ATLAS leaves frozen, as its own.

    The adapters that ATLAS would reuse, at their mean coefficients, are one wider bottleneck: a copy, which is kept
    whole beside the original. The earlier tasks are learned by ATLAS, outside of the `Cost`.
    """

    name = "adapter_copy"
    summary = "a copy of the adapters that ATLAS would reuse, trained on"
    uses_order = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.earlier = Atlas(setting)
        self.pending: LoadedTask | None = None

    def learn_pending(self) -> None:
        """The last task as ATLAS learns it, for the next ones to begin at."""
        if self.pending is not None:
            self.earlier.learn([self.pending], self.args)
            self.pending = None

    def fork(self) -> Method:
        """Learns what is pending first, so that not every copy has to."""
        self.learn_pending()
        return super().fork()

    def train(self, tasks: Sequence[LoadedTask], args: AtlasTrainingArguments, steps: int) -> None:
        """In the steps of the second stage, at ATLAS's beginning."""
        self.learn_pending()
        ((spec, data),) = tasks
        begun = deepcopy(self.earlier.model)
        begun.add_task(spec)
        sources: list[str] = []
        if begun.peft_config[spec.name].experience:
            begun.set_stage(spec.name, "experience")
            sources, _ = find_sources(begun, spec.name, data["train"], seed=args.seed)
            begun.base_model.begin_at(spec.name, sources)
        self.began_at[spec.name] = sources
        learn_head(begun, spec.name, data["train"], args, sources)
        self.model.add_task(spec)
        if sources:
            self.model.adapters[spec.name] = _copied(begun, spec.name, data["train"])
        self.model.heads[spec.name].load_state_dict(begun.heads[spec.name].state_dict())
        self.unfreeze(self.trained_parameters(spec.name))
        args.max_steps = stage_steps(args, len(data["train"]))[1]
        train_quietly(PlainTrainer(self, args, spec.name, data["train"]))
        self.pending = tasks[0]


def _copied(model: AtlasModel, task: str, dataset: Dataset) -> nn.ModuleList:
    """What a task of an `AtlasModel` adds up at each site, as one bottleneck: K adapters of width r, each at its mean
    coefficient over (at most 256) examples, are one of width K r.
    """
    coefficients = mean_coefficients(model, task, dataset)
    return nn.ModuleList(_joined(site, task, coefficients[at]) for at, site in model.base_model.sites_of(task).items())


def _joined(site: AtlasLayer, task: str, coefficients: Mapping[str, float]) -> Bottleneck:
    members = site.members(task)
    down = [cast(nn.Linear, site.atlas_down[member]) for member in members]
    up = [cast(nn.Linear, site.atlas_up[member]) for member in members]
    weights = [coefficients[member] for member in members]
    joined = Bottleneck(site.out_features, sum(layer.out_features for layer in down))
    with torch.no_grad():
        joined.down.weight.copy_(torch.cat([layer.weight for layer in down]))
        joined.down.bias.copy_(torch.cat([layer.bias for layer in down]))
        joined.up.weight.copy_(torch.cat([w * layer.weight for w, layer in zip(weights, up, strict=True)], dim=1))
        for w, layer in zip(weights, up, strict=True):
            joined.up.bias.add_(layer.bias, alpha=w)  # from 0
    return joined
