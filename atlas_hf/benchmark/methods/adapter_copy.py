"""A copy of the adapters that help most, trained on: the other thing to do with a task that is like an earlier one."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from datasets import Dataset
from torch import nn

from atlas_hf.benchmark.methods.adapter import Adapter, Bottleneck
from atlas_hf.benchmark.methods.atlas import Atlas
from atlas_hf.benchmark.methods.base import Method, PlainTrainer, Setting, stage_steps, train_quietly
from atlas_hf.benchmark.methods.plain_model import LoadedTask
from atlas_hf.model import AtlasModel
from atlas_hf.training import AtlasTrainingArguments, mean_coefficients
from atlas_hf.training.head_start import learn_head
from atlas_hf.training.sources import begin_where_it_helps


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
            sources, _ = begin_where_it_helps(begun, spec.name, data["train"], seed=args.seed)
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
    copies = []
    for path, site in model.base_model.sites_of(task).items():
        members = site.members(task)
        weights = [coefficients[path][member] for member in members]
        down, up = ([layers[member] for member in members] for layers in (site.atlas_down, site.atlas_up))
        copy = Bottleneck(site.out_features, sum(layer.out_features for layer in down))
        with torch.no_grad():
            copy.down.weight.copy_(torch.cat([layer.weight for layer in down]))
            copy.down.bias.copy_(torch.cat([layer.bias for layer in down]))
            copy.up.weight.copy_(torch.cat([w * layer.weight for w, layer in zip(weights, up, strict=True)], dim=1))
            copy.up.bias.copy_(sum(w * layer.bias for w, layer in zip(weights, up, strict=True)))
        copies.append(copy)
    return nn.ModuleList(copies)
