"""What stands in PEFT's tests for what they are about: `AtlasConfig` for LoRA's, models made here for the Hub's."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
)

from atlas_hf import AtlasConfig

SIZES = {
    "vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 40,
}  # fmt: skip
# By the names under which PEFT's tests load them from the Hub.
MODELS = {
    "peft-internal-testing/tiny-random-BertModel": lambda: BertModel(BertConfig(**SIZES)),
    "peft-internal-testing/tiny-random-RobertaModel": lambda: RobertaModel(RobertaConfig(**SIZES)),
    "peft-internal-testing/tiny-random-DebertaV2Model": lambda: DebertaV2Model(DebertaV2Config(**SIZES)),
    "peft-internal-testing/tiny-random-BertForSequenceClassification": lambda: BertForSequenceClassification(
        BertConfig(**SIZES)
    ),
    "peft-internal-testing/tiny-random-RobertaForSequenceClassification": lambda: RobertaForSequenceClassification(
        RobertaConfig(**SIZES)
    ),
    # Decoders, where a test means any model: an encoder with the same inputs and outputs.
    "peft-internal-testing/tiny-random-OPTForCausalLM": lambda: BertForMaskedLM(BertConfig(**SIZES)),
    "peft-internal-testing/opt-125m": lambda: BertForMaskedLM(BertConfig(**SIZES)),
}
FOLDER = TemporaryDirectory()

# What LoRA's configuration has and ATLAS's has too, and what says nothing where LoRA is another's stand-in.
SHARED = {
    "r", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "task_type",
    "inference_mode", "peft_type", "base_model_name_or_path", "revision", "auto_mapping", "peft_version",
}  # fmt: skip
SILENT = {"lora_alpha": None, "lora_dropout": None, "bias": "none", "fan_in_fan_out": False}


class LoraOnlyError(ValueError):
    """A setting of LoRA that ATLAS does not have."""


def translated(values: dict[str, Any]) -> dict[str, Any]:
    """Arguments of LoRA's configuration as those of ATLAS's. Raises a `LoraOnlyError`."""
    found = {}
    for name, value in values.items():
        if name == "init_lora_weights" and isinstance(value, bool):
            found["init_weights"] = value
        elif name in SHARED:
            found[name] = value
        elif name not in SILENT or (SILENT[name] is not None and value != SILENT[name]):
            raise LoraOnlyError(f"sets LoRA's own {name}={value!r}")
    return found


class AsLora(AtlasConfig):
    """In the place of `LoraConfig`, where a test names it for want of a method in general."""

    def __new__(cls, r: int = 4, **values: Any) -> AtlasConfig:  # type: ignore[misc]  # it is one
        try:
            return AtlasConfig(**translated({"r": r} | values))
        except LoraOnlyError as error:
            pytest.skip(str(error))


def as_atlas(config: LoraConfig) -> AtlasConfig:
    """A configuration that a test made before there was a stand-in."""
    default = LoraConfig()
    values = {
        name: value
        for name, value in vars(config).items()
        if not name.startswith("_") and value != getattr(default, name, None)
    }
    return AtlasConfig(**translated({"r": 4} | values))


def model_folder(name: str) -> str:
    """Where a model of the Hub's name lies, made at the first call."""
    folder = Path(FOLDER.name) / name.replace("/", "--")
    if not folder.is_dir():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            MODELS[name]().save_pretrained(folder)
    return str(folder)


def load_from_here() -> None:
    """Let transformers load the models of these names from here."""
    from transformers import AutoConfig, PretrainedConfig
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

    for owner in (_BaseAutoModelClass, PreTrainedModel, AutoConfig, PretrainedConfig):
        original = owner.from_pretrained.__func__

        def from_pretrained(cls: Any, name: Any = None, *args: Any, original: Any = original, **kwargs: Any) -> Any:
            if name not in MODELS:
                return original(cls, name, *args, **kwargs)
            found = original(cls, model_folder(name), *args, **kwargs)
            if isinstance(found, PreTrainedModel):
                found.config._name_or_path = found.name_or_path = name
            return found

        owner.from_pretrained = classmethod(from_pretrained)
