"""What is known of each architecture, one record each, and which ones cannot be used."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from peft.tuners.tuners_utils import _maybe_include_all_linear_layers
from peft.utils.constants import INCLUDE_LINEAR_LAYERS_SHORTHAND
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES


@dataclass(frozen=True)
class Backbone:
    """What is known of one `model_type`. Without arguments: a plain encoder of one sequence.

    Args:
        target_modules: the default sites, the attention output and the MLP output projection of each layer.
        pooling: of `POOLINGS`; None for the first that the outputs offer (see `atlas_hf.tuner.pooling.pool`).
        mask: where the sites learn which tokens are padding. `"call"`: from the `attention_mask` of the call, for all
            layers. `"embeddings"`: they return the mask of a joint sequence beside the tokens. `"towers"`: each
            encoder is called with the mask of its own sequence, or with none. `"found"`: whichever of these there is.
        windows: do layers cut a sequence into windows? Its adapters see it in one piece.
        fixed_length: are texts padded to the length of pretraining, whatever is in the batch? Where the text's vector
            is that of the last token, padding or not.
        draws: what draws at random in evaluation too: ViLT's `"embeddings"` choose patches, in random order.
            `"anything"`: unknown (see `atlas_hf.tuner.draws`).
    """

    target_modules: list[str] | str | None = None
    pooling: str | None = None
    mask: Literal["call", "embeddings", "towers", "found"] = "call"
    windows: bool = False
    fixed_length: bool = False
    draws: Literal["embeddings", "anything"] | None = None


_DENSE, _VISION = ["output.dense"], ["o_proj", "fc2"]
# SigLIP's pooling head has an out_proj and an fc2 of its own, outside the layers.
_TOWERS = r".*\.layers\.\d+\.(self_attn\.out_proj|mlp\.fc2)"
# BLIP's text layers also hold a cross-attention, which no forward call of the encoder passes.
_BLIP = r".*\.\d+\.(attention\.output\.dense|output\.dense|self_attn\.projection|mlp\.fc2)"
# A new backbone is one entry here.
BACKBONES: dict[str, Backbone] = {
    "vilt": Backbone(_DENSE, mask="embeddings", draws="embeddings"),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), Backbone(_DENSE)),
    # They return no pooled vector, and transformers' own classification heads on them read the first token.
    **dict.fromkeys(("electra", "deberta", "deberta-v2"), Backbone(_DENSE, pooling="cls")),
    "distilbert": Backbone(["out_lin", "lin2"], pooling="cls"),
    # ALIGN's vision tower is convolutional: it stays as it is.
    **dict.fromkeys(("flava", "align"), Backbone(_DENSE, mask="towers")),
    **dict.fromkeys(("vit", "dinov2"), Backbone(_VISION)),
    "swin": Backbone(_VISION, windows=True),
    "clip": Backbone(_TOWERS, mask="towers"),
    "siglip": Backbone(_TOWERS, mask="towers", fixed_length=True),
    "blip": Backbone(_BLIP, mask="towers"),
    "whisper": Backbone(r"(.*\.)?layers\.\d+\.(self_attn\.out_proj|fc2)"),
}
UNKNOWN = Backbone(mask="found", windows=True, draws="anything")
TARGET_MODULES = {name: known.target_modules for name, known in BACKBONES.items() if known.target_modules}
_HEADS = ("num_attention_heads", "n_heads", "num_heads", "encoder_attention_heads")
_POSITIONS = ("position_embeddings", "position_embedding", "embed_positions")
# XLNet and BertGeneration generate too, but what AutoModel loads of them sees both sides of a token.
_GENERATES = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - {*MODEL_FOR_MASKED_LM_MAPPING_NAMES, "bert-generation", "xlnet"}
_REASON = (
    "ATLAS needs an encoder: its coefficients read the whole sequence, so that in a decoder a token would see those "
    "that come after it."
)


def backbone_of(model: nn.Module) -> Backbone:
    """What is known of a model by the `model_type` of its configuration; `UNKNOWN` if there is nothing."""
    return BACKBONES.get(str(getattr(getattr(model, "config", None), "model_type", None)), UNKNOWN)


def position_limit(model: nn.Module) -> int | None:
    """How many tokens of a text a model has positions for, or was made for; None if there is no end, or no text.

    The size of the table of positions beside that of words. Where the positions begin after that of padding (RoBERTa
    and its kin), or the table has rows at its start that no token takes (BART's), it holds fewer than it has rows.
    """
    config: Any = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    limit = getattr(config, "max_position_embeddings", None)
    for table in _position_tables(model, getattr(config, "vocab_size", None)):
        rows = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        return rows if limit is None else min(rows, limit)
    return None if getattr(config, "relative_attention", False) else limit  # DeBERTa, of any length; rotary positions


def _position_tables(model: nn.Module, vocab_size: int | None) -> Iterator[nn.Embedding]:
    for module in model.modules():
        tables = {name: child for name, child in module.named_children() if isinstance(child, nn.Embedding)}
        if any(table.num_embeddings == vocab_size for table in tables.values()):
            yield from (tables[name] for name in _POSITIONS if name in tables)


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


def name_all_linear(config: Any, model: nn.Module, sites: Iterable[str]) -> None:
    """Put the names of all linear modules for `target_modules="all-linear"`, as PEFT does when it adds an adapter.

    In a model with adapters PEFT would take a site's own parts for such modules: here it is the sites that count.
    """
    if str(config.target_modules).lower() != INCLUDE_LINEAR_LAYERS_SHORTHAND:
        return
    _maybe_include_all_linear_layers(config, model)
    inside = tuple(f"{path}." for path in sites)
    config.target_modules = {path for path in config.target_modules if not path.startswith(inside)} | set(sites)
