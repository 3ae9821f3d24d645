"""One vector per row out of whatever an encoder returns."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.modeling_outputs import ModelOutput

from atlas_hf.tuner.config import POOLINGS


def pooled_size(config: PreTrainedConfig) -> int:
    """D of what `pool` gives for a backbone of this configuration."""
    if hasattr(config, "text_config") and hasattr(config, "vision_config"):
        width = getattr(config, "projection_dim", None)
        return 2 * width if width else config.text_config.projection_size + config.vision_config.hidden_size
    return getattr(config, "multimodal_config", config).hidden_size


def pool(outputs: ModelOutput, mask: Tensor | None, pooling: str | None = None) -> Tensor:
    """One vector per row, (rows, D), of a backbone's outputs. Raises a `ValueError` if they lack what it needs.

    Args:
        mask: (rows, L), non-zero where a token is not padding.
        pooling: one of `POOLINGS`; by default the first that the outputs allow of the pooler's vector, both towers'
            joined, and the mean.
    """
    outputs = outputs.get("multimodal_output") or outputs  # FLAVA: its third encoder, which reads the other two
    pooling = pooling or next((name for name in ("pooler", "joined") if _allows(outputs, name)), "mean")
    if not _allows(outputs, pooling):
        raise ValueError(
            f"pooling is {pooling!r}, but the backbone returns {list(outputs)}; possible are "
            f"{', '.join(name for name in POOLINGS if _allows(outputs, name)) or 'none'}."
        )
    if pooling == "pooler":
        return outputs["pooler_output"]
    if pooling == "joined":
        return torch.cat([outputs["image_embeds"], outputs["text_embeds"]], dim=-1)
    hidden = outputs["last_hidden_state"]
    if pooling == "cls":
        return hidden[:, 0]
    if mask is None or mask.shape != hidden.shape[:2]:
        return hidden.mean(1)
    weight = mask.to(hidden.dtype)[..., None]
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


def pool_runs(
    outputs: ModelOutput, mask: Tensor | None, runs: Sequence[tuple[str, int]], pooling: Mapping[str, str | None]
) -> Tensor:
    """As `pool`, with the pooling of each run's task: runs of (task, number of rows), one after another."""
    vectors = {name: pool(outputs, mask, name) for name in {pooling[task] for task, _ in runs}}
    sizes = [count for _, count in runs]
    return torch.cat([vectors[pooling[task]].split(sizes)[i] for i, (task, _) in enumerate(runs)])


def _allows(outputs: ModelOutput, pooling: str) -> bool:
    return all(outputs.get(key) is not None for key in POOLINGS[pooling])
