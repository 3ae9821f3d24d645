"""PEFT's own ways to have several adapters at once, at the sites of an `AtlasModel`: LoRA, added up, and X-LoRA."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from peft import LoraConfig, LoraModel, PeftModel, XLoraConfig, get_peft_model
from torch import nn
from transformers import AutoModel, PreTrainedModel

from atlas_hf.model import AtlasModel


class Nested(nn.Module):
    """A backbone under the name `model`: X-LoRA finds the weights of its adapters nowhere else (PEFT 0.21)."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.config.use_cache = False  # X-LoRA asks for that

    def forward(self, **inputs: Any) -> Any:
        return self.model(**inputs)


def fresh(model: AtlasModel) -> PreTrainedModel:
    """The backbone anew, with all of its weights training."""
    return AutoModel.from_config(model.get_base_model().config).to(model.device)


def lora(model: AtlasModel, task: str) -> PeftModel:
    """As many LoRA adapters as the task adds up, of its width, at its sites, all active; only its own one trains."""
    members = model.members(task)
    other = _with_lora(model, task, fresh(model), members)
    cast(LoraModel, other.base_model).set_adapter(members)
    for name, parameter in other.named_parameters():
        parameter.requires_grad_(f".{task}." in name)
    return other


def xlora(model: AtlasModel, task: str) -> PeftModel:
    """X-LoRA over as many adapters (arXiv 2402.07148).

    A classifier on the backbone's last hidden state, which a first pass computes, weights them per token and site;
    only the classifier trains.
    """
    names = [str(index) for index in range(len(model.members(task)))]  # other names are loaded, but not computed
    with TemporaryDirectory() as folder:
        _with_lora(model, task, Nested(fresh(model)), names, init_lora_weights=False).save_pretrained(folder)
        config = XLoraConfig(
            hidden_size=model.get_base_model().config.hidden_size,
            adapters={name: str(Path(folder) / name) for name in names},
            layerwise_scalings=True,
        )
        return get_peft_model(Nested(fresh(model)), config)


def _with_lora(model: AtlasModel, task: str, backbone: nn.Module, names: list[str], **options: Any) -> PeftModel:
    config = LoraConfig(r=model.peft_config[task].r, target_modules=list(model.base_model.sites), **options)
    other = get_peft_model(backbone, config, adapter_name=names[0])
    for name in names[1:]:
        other.add_adapter(name, config)
    return other
