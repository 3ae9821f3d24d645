"""The ways of computing one backbone that `atlas-hf benchmark-speed` compares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import linear

from atlas_hf.benchmark.speed.peft_ways import fresh, lora, xlora
from atlas_hf.fusion import fuse_loop
from atlas_hf.model import BASE, AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import AtlasConfig
from atlas_hf.tuner.layer import AtlasLayer
from atlas_hf.tuner.pooling import pool

TASK = "measured"
MIXED = [TASK, *(f"{TASK}-{index}" for index in range(1, 4))]
WAYS = ("bare", "floor", "fused", "loop", "mixed", "lora", "xlora", "full")
TEXT = {"input_ids": lambda batch, tokens: torch.randint(5, 1000, (batch, tokens))}
IMAGE = {"pixel_values": lambda batch, tokens: torch.randn(batch, 3, 224, 224)}
# Configuration, and what makes the inputs. ViLT's 224 x 224 pixels are 49 patches, and the text fills up the tokens.
BACKBONES: dict[str, tuple[Callable[[], Any], dict[str, Callable[[int, int], Tensor]]]] = {
    "bert-4": (partial(transformers.BertConfig, num_hidden_layers=4), TEXT),
    "bert": (transformers.BertConfig, TEXT),
    "vit": (transformers.ViTConfig, IMAGE),
    "vilt": (
        partial(transformers.ViltConfig, max_position_embeddings=256),
        {"input_ids": lambda batch, tokens: torch.randint(5, 1000, (batch, tokens - 50))} | IMAGE,
    ),
}


def build(
    backbone: str, adapters: int, variant: str = "paper", dropout: float | None = None, width: int = 48
) -> AtlasModel:
    """A backbone with random weights, so many learned tasks, and four more that reuse them all."""
    torch.manual_seed(0)
    names = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    config = BACKBONES[backbone][0](**({} if dropout is None else dict.fromkeys(names, dropout)))
    model = AtlasModel(
        transformers.AutoModel.from_config(config),
        config=AtlasConfig(r=width, variant=variant, init_weights=False),
    )
    spec = partial(TaskSpec, problem_type="single_label_classification", random_baseline=0.5, label_names=["a", "b"])
    columns = {"image_columns": ["image"]} if "pixel_values" in BACKBONES[backbone][1] else {"text_columns": ["text"]}
    for index in range(adapters):
        model.add_task(spec(f"task-{index}", **columns), experience=())
        model.set_stage(f"task-{index}", "complete")
    reused = model.tasks
    for name in MIXED:
        model.add_task(spec(name, **columns), experience=reused)
    return model


class Way:
    """One way of computing the backbone of an `AtlasModel`; what it needs is made before anything is measured.

    Args:
        model: from `build`, with the stage of `TASK` set.
        name: of `WAYS`.
    """

    def __init__(self, model: AtlasModel, name: str) -> None:
        self.model, self.name = model, name
        make = {"bare": lambda site: lambda x: x, "floor": _floor, "loop": lambda site: partial(_loop, site)}.get(name)
        sites = model.base_model.sites
        self.replaced = {site.base_layer: make(site) for site in sites.values()} if make else {}
        others = {"lora": partial(lora, task=TASK), "xlora": partial(xlora, task=TASK), "full": fresh}
        self.other = others[name](model) if name in others else None
        if self.other is not None:
            self.other.train(model.training)
        if name == "lora":
            linears = (self.other.get_submodule(f"base_model.model.{path}.base_layer") for path in sites)
            self.replaced = {module: lambda x: x for module in linears}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Pooled vectors, (B, D)."""
        with _outputs(self.replaced):
            if self.other is not None:
                return pool(self.other(**inputs), inputs.get("attention_mask"))
            rows = len(next(iter(inputs.values())))
            mixed = [MIXED[row % len(MIXED)] for row in range(rows)]
            task = {"fused": TASK, "mixed": mixed}.get(self.name, BASE)
            return self.model.pooled(task, **inputs)

    def step(self, inputs: dict[str, Tensor], labels: Tensor) -> None:
        """One training step, without the optimizer's."""
        head = self.model.base_model.atlas_head[TASK]
        loss = head.loss(head(self.forward(inputs)), labels)
        if self.name == "fused":
            loss = loss + 1e-7 * self.model.base_model.orthogonality(TASK)
        loss.backward()
        for module in filter(None, (self.model, self.other)):
            module.zero_grad()


@contextmanager
def _outputs(replaced: dict[nn.Module, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Within the block, modules give what these functions make of their outputs."""
    with ExitStack() as hooks:
        for module, function in replaced.items():
            handle = module.register_forward_hook(partial(_replace_output, function))
            hooks.callback(handle.remove)
        yield


def _replace_output(function: Callable[[Tensor], Tensor], module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """The gradient ends at the first site, as where only what is at the sites trains."""
    if torch.is_grad_enabled() and not output.requires_grad:
        output = output.detach().requires_grad_()
    return function(output)


def _floor(site: AtlasLayer) -> Callable[[Tensor], Tensor]:
    with torch.no_grad():
        down = torch.cat([site.atlas_down[name].weight for name in site.members(TASK)])
        up = torch.cat([site.atlas_up[name].weight for name in site.members(TASK)], dim=1)
    return lambda x: x + linear(linear(x, down), up)


def _loop(site: AtlasLayer, x: Tensor) -> Tensor:
    """One adapter after the other."""
    config = site.atlas_config[TASK]
    *weights, keys = zip(*map(site.reusable, site.members(TASK)), strict=True)
    heads, variant, weighting = config.pooling_heads, config.variant, config.weighting
    queries = site.queries(TASK)
    return fuse_loop(x, *weights, queries, keys, num_heads=heads, variant=variant, weighting=weighting)[0]
