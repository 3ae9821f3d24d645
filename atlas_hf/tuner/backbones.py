"""What is known of each architecture: where its adapters sit, how many heads pool, and which ones cannot be used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

# The attention output and the MLP output projection of each layer.
TARGET_MODULES: dict[str, list[str] | str] = {
    **dict.fromkeys(("vilt", "bert", "roberta", "xlm-roberta", "electra", "deberta", "deberta-v2"), ["output.dense"]),
    # ALIGN's vision tower is convolutional: it stays as it is.
    **dict.fromkeys(("flava", "align"), ["output.dense"]),
    **dict.fromkeys(("vit", "dinov2", "swin"), ["o_proj", "fc2"]),
    "distilbert": ["out_lin", "lin2"],
    # SigLIP's pooling head has an out_proj and an fc2 of its own, outside the layers.
    **dict.fromkeys(("clip", "siglip"), r".*\.layers\.\d+\.(self_attn\.out_proj|mlp\.fc2)"),
    # BLIP's text layers also hold a cross-attention, which no forward call of the encoder passes.
    "blip": r".*\.\d+\.(attention\.output\.dense|output\.dense|self_attn\.projection|mlp\.fc2)",
    "whisper": r"(.*\.)?layers\.\d+\.(self_attn\.out_proj|fc2)",
}
# They order their patches with torch's global generator, in evaluation mode too.
RANDOM_ORDER = ("vilt",)
_HEADS = ("num_attention_heads", "n_heads", "num_heads", "encoder_attention_heads")
# XLNet and BertGeneration generate too, but what AutoModel loads of them sees both sides of a token.
_GENERATES = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - {*MODEL_FOR_MASKED_LM_MAPPING_NAMES, "bert-generation", "xlnet"}
_REASON = (
    "ATLAS needs an encoder: its coefficients read the whole sequence, so that in a decoder a token would see those "
    "that come after it."
)


def attention_heads(model_config: Mapping[str, Any]) -> int:
    """The heads that all layers of a backbone can be cut into: towers and stages may have several widths."""
    return math.gcd(*_head_counts(model_config)) or 1


def _head_counts(model_config: Mapping[str, Any]) -> Iterator[int]:
    """Of a configuration and of those that it is made of; Swin has one number per stage."""
    for name, value in model_config.items():
        if name in _HEADS:
            yield from value if isinstance(value, (list, tuple)) else [value] if isinstance(value, int) else []
        elif name.endswith("_config") and isinstance(value, Mapping):
            yield from _head_counts(value)


def check_encoder(model: nn.Module) -> None:
    """Raise a `ValueError` for a decoder, alone or behind an encoder."""
    config, name = getattr(model, "config", None), type(model).__name__
    decodes = any(
        getattr(module, mark, False) is True for module in model.modules() for mark in ("is_causal", "is_decoder")
    )
    if getattr(config, "is_encoder_decoder", False):
        if decodes:
            raise ValueError(
                f"{name} has an encoder and a decoder. {_REASON} Give its encoder alone: "
                "AtlasModel(model.get_encoder(), processor)."
            )
    elif decodes or getattr(config, "model_type", None) in _GENERATES:
        raise ValueError(f"{name} is a causal decoder. {_REASON} Choose an encoder such as BERT, ViT, CLIP or ViLT.")
