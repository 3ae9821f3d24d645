"""The ways of computing one backbone that `atlas-hf benchmark-speed` compares, PEFT's LoRA and X-LoRA among them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
import transformers
from peft import LoraConfig, LoraModel, PeftModel, XLoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModel, PreTrainedModel

from atlas_hf.fusion import fuse_loop
from atlas_hf.model import BASE, AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.tuner import AtlasConfig, AtlasLayer, Head, pool

Replacement = Callable[[Tensor], Tensor]
TASK = "measured"
MIXED = [TASK, *(f"{TASK}-{index}" for index in range(1, 4))]
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
    model = AtlasModel(AutoModel.from_config(config), config=AtlasConfig(r=width, variant=variant, init_weights=False))
    column = "image" if "pixel_values" in BACKBONES[backbone][1] else "text"
    for index in range(adapters):
        model.add_task(two_labels(f"task-{index}", **{f"{column}_columns": (column,)}), experience=())
        model.set_stage(f"task-{index}", "complete")
    reused = model.tasks
    for name in MIXED:
        model.add_task(two_labels(name, **{f"{column}_columns": (column,)}), experience=reused)
    return model


def two_labels(name: str, **columns: Any) -> TaskSpec:
    """A task of two classes, with these `image_columns` or `text_columns`, tuples of names."""
    return TaskSpec(name, "single_label_classification", label_names=("a", "b"), random_baseline=0.5, **columns)


class Way:
    """One way, of `WAYS` in `arguments`, of computing the backbone of a model from `build` with `TASK`'s stage set."""

    def __init__(self, model: AtlasModel, name: str) -> None:
        self.model, self.name = model, name
        self.other = OTHERS[name](model).train(model.training) if name in OTHERS else None
        self.replaced: dict[nn.Module, Replacement] = {}
        for path, site in model.base_model.sites.items():
            if name in REPLACEMENTS:
                self.replaced[site.base_layer] = REPLACEMENTS[name](site)
            elif name == "lora" and self.other is not None:
                self.replaced[self.other.get_submodule(f"base_model.model.{path}.base_layer")] = _nothing(site)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Pooled vectors, (B, D)."""
        mixed = [MIXED[row % len(MIXED)] for row in range(len(next(iter(inputs.values()))))]
        with _outputs(self.replaced):
            if self.other is not None:
                return pool(self.other(**inputs), inputs.get("attention_mask"))
            return self.model.pooled({"fused": TASK, "mixed": mixed}.get(self.name, BASE), **inputs)

    @torch.no_grad()
    def infer(self, inputs: dict[str, Tensor]) -> Tensor:
        """`forward`, without gradients."""
        return self.forward(inputs)

    def step(self, inputs: dict[str, Tensor], labels: Tensor) -> None:
        """One training step, without the optimizer's."""
        head = cast(Head, self.model.base_model.atlas_head[TASK])
        loss = head.loss(head(self.forward(inputs)), labels)
        if self.name == "fused":
            loss = loss + 1e-7 * self.model.base_model.orthogonality(TASK)
        loss.backward()
        for module in filter(None, (self.model, self.other)):
            module.zero_grad()


@contextmanager
def _outputs(replaced: dict[nn.Module, Replacement]) -> Iterator[None]:
    """Within the block, modules give what these functions make of their outputs."""
    with ExitStack() as hooks:
        for module, function in replaced.items():
            hooks.callback(module.register_forward_hook(partial(_replace_output, function)).remove)
        yield


def _replace_output(function: Replacement, module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """The gradient ends at the first site, as where only what is at the sites trains."""
    if torch.is_grad_enabled() and not output.requires_grad:
        output = output.detach().requires_grad_()
    return function(output)


class Nested(nn.Module):
    """A backbone under the name `model`: X-LoRA finds the weights of its adapters nowhere else (PEFT 0.21)."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.config.use_cache = False  # X-LoRA asks for that

    def forward(self, **inputs: Any) -> Any:
        """As of the backbone."""
        return self.model(**inputs)


def fresh(model: AtlasModel) -> PreTrainedModel:
    """The backbone anew, with all of its weights training."""
    return AutoModel.from_config(model.get_base_model().config).to(model.device)


def lora(model: AtlasModel) -> PeftModel:
    """As many LoRA adapters as `TASK` adds up, of its width, at its sites, all active; only its own one trains."""
    members = model.members(TASK)
    other = _with_lora(model, fresh(model), members)
    cast(LoraModel, other.base_model).set_adapter(members)
    for name, parameter in other.named_parameters():
        parameter.requires_grad_(f".{TASK}." in name)
    return other


def xlora(model: AtlasModel) -> PeftModel:
    """X-LoRA over as many adapters (arXiv 2402.07148): a classifier on the backbone's last hidden state, which a first
    pass computes, weights them per token and site; only the classifier trains.
    """
    names = [str(index) for index in range(len(model.members(TASK)))]  # other names are loaded, but not computed
    with TemporaryDirectory() as folder:
        _with_lora(model, Nested(fresh(model)), names, init_lora_weights=False).save_pretrained(folder)
        size, paths = model.get_base_model().config.hidden_size, {name: str(Path(folder) / name) for name in names}
        config = XLoraConfig(hidden_size=size, adapters=paths, layerwise_scalings=True)
        return get_peft_model(Nested(fresh(model)), config)


def _with_lora(model: AtlasModel, backbone: nn.Module, names: list[str], **options: Any) -> PeftModel:
    config = LoraConfig(r=model.peft_config[TASK].r, target_modules=list(model.base_model.sites), **options)
    other = get_peft_model(backbone, config, adapter_name=names[0])
    for name in names[1:]:
        other.add_adapter(name, config)
    return other


def _nothing(site: AtlasLayer) -> Replacement:
    return lambda x: x


def _floor(site: AtlasLayer) -> Replacement:
    with torch.no_grad():
        downs, _, ups, *_ = zip(*map(site.reusable, site.members(TASK)), strict=True)
        down, up = torch.cat(downs), torch.cat(ups, dim=1)
    return lambda x: x + linear(linear(x, down), up)


def _loop(site: AtlasLayer) -> Replacement:
    """One adapter after the other."""
    config = site.atlas_config[TASK]
    compute = partial(
        fuse_loop,
        num_heads=config.pooling_heads,
        variant=config.variant,
        weighting=config.weighting,
        token_weight=config.token_weight,
    )
    down, down_bias, up, up_bias, keys = zip(*map(site.reusable, site.members(TASK)), strict=True)
    return lambda x: compute(x, down, down_bias, up, up_bias, site.queries(TASK), keys)[0]


REPLACEMENTS: dict[str, Callable[[AtlasLayer], Replacement]] = {"bare": _nothing, "floor": _floor, "loop": _loop}
OTHERS: dict[str, Callable[[AtlasModel], nn.Module]] = {"lora": lora, "xlora": xlora, "full": fresh}
