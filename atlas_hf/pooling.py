"""One vector per row out of whatever an encoder returns."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_outputs import ModelOutput


def pooled_size(config: PreTrainedConfig) -> int:
    """D of what `pool` gives for a backbone of this configuration."""
    if hasattr(config, "text_config") and hasattr(config, "vision_config"):
        width = getattr(config, "projection_dim", None)
        return 2 * width if width else config.text_config.projection_size + config.vision_config.hidden_size
    return getattr(config, "hidden_size", None) or config.dim


def pool(outputs: ModelOutput, mask: Tensor | None) -> Tensor:
    """One vector per row, (rows, D): the pooler's, both towers' joined, or the mean over the unmasked tokens."""
    if getattr(outputs, "pooler_output", None) is not None:
        return outputs.pooler_output
    if getattr(outputs, "image_embeds", None) is not None:
        return torch.cat([outputs.image_embeds, outputs.text_embeds], dim=-1)
    hidden = outputs.last_hidden_state
    if mask is None or mask.shape != hidden.shape[:2]:
        return hidden.mean(1)
    weight = mask.to(hidden.dtype)[..., None]
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
