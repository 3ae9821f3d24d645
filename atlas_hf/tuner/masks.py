"""How the sites get to know which tokens are padding, and how many sequences there are; see `Backbone.mask`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from atlas_hf.tuner.backbones import Backbone
from atlas_hf.tuner.route import ROUTE


def given_mask(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The `attention_mask` (B, L) of a call of the model; None if there is none, or one of another shape."""
    bound = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
    return _plain(bound.get("attention_mask", bound.get("kwargs", {}).get("attention_mask")))


def share_masks(model: nn.Module, backbone: Backbone) -> None:
    """Let a model's embeddings and encoders leave their masks in the route of each call, as its record says."""
    for path, module in model.named_modules():
        if path.rpartition(".")[2] == "embeddings":
            if backbone.windows:
                module.register_forward_hook(_count_sequences)
            if backbone.mask == "embeddings":
                module.register_forward_hook(_share_joint_mask)
            elif backbone.mask == "found":
                module.register_forward_hook(_find_mask, with_kwargs=True)
        elif path and isinstance(module, PreTrainedModel) and backbone.mask in ("towers", "found"):
            hook = _share_tower_mask if backbone.mask == "towers" else _find_tower_mask
            module.register_forward_pre_hook(hook, with_kwargs=True)


def _plain(mask: Any) -> Tensor | None:
    return mask if isinstance(mask, Tensor) and mask.dim() == 2 else None


def _embedded(output: Any) -> tuple[Any, Any]:
    """The tokens that embeddings return, and what they return beside them."""
    return output if isinstance(output, tuple) and len(output) == 2 else (output, None)


def _count_sequences(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    route, (tokens, _) = ROUTE.get(), _embedded(output)
    if route is not None:
        route.sequences = len(tokens) if isinstance(tokens, Tensor) else None


def _share_joint_mask(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """ViLT: patches are chosen in the embeddings, which know their mask."""
    route = ROUTE.get()
    if route is not None:
        _, route.mask = _embedded(output)


def _share_tower_mask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """CLIP's text encoder is called with a mask, its vision encoder without; FLAVA's third with that of both."""
    route = ROUTE.get()
    if route is not None:
        route.mask = _plain(kwargs.get("attention_mask"))


def _find_tower_mask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if "attention_mask" in kwargs:
        _share_tower_mask(module, args, kwargs)


def _find_mask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    """Of a model that nothing is known of: a mask of the embeddings' shape, or the call's if they take no images."""
    route = ROUTE.get()
    if route is None:
        return
    tokens, mask = _embedded(output)
    if isinstance(mask, Tensor) and isinstance(tokens, Tensor) and mask.shape == tokens.shape[:2]:
        route.mask = mask
    else:
        has_pixels = any(isinstance(value, Tensor) and value.dim() == 4 for value in (*args, *kwargs.values()))
        route.mask = None if has_pixels else route.padding
