"""What one forward call tells the sites: the task, which tokens are padding; and how they get to know it."""

import inspect
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from atlas_hf.fusion import Pack
from atlas_hf.tuner.backbones import Backbone
from atlas_hf.tuner.draws import draw_in


class Operands(NamedTuple):
    """What a site computes with for a task, see `atlas_hf.fusion.fuse_packs`."""

    packs: list[Pack]
    query: Tensor
    key: Tensor
    num_heads: int
    variant: str
    weighting: str
    token_weight: str


@dataclass
class Route:
    """What one forward call tells the sites. Kept per call, not on the modules, so that threads do not meet.

    Args:
        task: the task to compute; None for PEFT's active adapter.
        runs: instead, the tasks of the batch's rows: task and number of rows, one run after another.
        padding: (B, L), the `attention_mask` of the call.
        mask: (B, L) of the sequence that is in the layers now, non-zero where a token is not padding.
        sequences: how many sequences are in the layers now, of a backbone that cuts them into windows.
        coefficients: where the sites leave theirs, (B, K) or (B, K, D), if a dict is given.
        operands: what the sites compute with, looked up before the call. A compiled backbone then holds no task's
            name, and serves every task of the same shapes.
    """

    task: str | None = None
    runs: tuple[tuple[str, int], ...] | None = None
    padding: Tensor | None = None
    mask: Tensor | None = None
    sequences: int | None = None
    coefficients: dict[nn.Module, Tensor] | None = None
    operands: dict[nn.Module, Operands] | None = None


class CurrentRoute(threading.local):
    """The route of the forward call in this thread; `torch.compile` reads a thread's locals, but no `ContextVar`."""

    value: Route | None = None

    def get(self) -> Route | None:
        """None outside of a call."""
        return self.value


ROUTE = CurrentRoute()


@contextmanager
def routed(**changes: Any) -> Iterator[Route]:
    """Within the block, forward calls of this thread follow the current route with the given changes."""
    before = ROUTE.value
    ROUTE.value = route = replace(before or Route(), **changes)
    try:
        yield route
    finally:
        ROUTE.value = before


def checkpoint_routed(checkpoint: Any, layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Gradient checkpointing of a layer whose second computation follows the same route as the first.

    That one runs in the backward pass: after the route of the forward call has ended, and on a GPU in another thread.
    """
    return checkpoint(routed(**vars(ROUTE.get() or Route()))(layer), *args, **kwargs)


def unroute_checkpoints(modules: Iterable[Any]) -> None:
    """Give the layers of these modules back what `route_checkpoints` took from them."""
    for module in modules:
        checkpoint = getattr(module, "_gradient_checkpointing_func", None)
        if isinstance(checkpoint, partial) and checkpoint.func is checkpoint_routed:
            module._gradient_checkpointing_func = checkpoint.args[0]  # noqa: SLF001


def route_checkpoints(modules: Iterable[Any]) -> None:
    """Let the layers of these modules be computed again on the route of their call.

    Gradient checkpointing can be turned on at any time, so this is asked at each call in training mode.
    """
    for module in modules:
        checkpoint = getattr(module, "_gradient_checkpointing_func", None)
        if checkpoint is not None and getattr(checkpoint, "func", None) is not checkpoint_routed:
            module._gradient_checkpointing_func = partial(checkpoint_routed, checkpoint)  # noqa: SLF001


def given_mask(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The `attention_mask` (B, L) of a call of the model; None if there is none, or one of another shape."""
    bound = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
    return _plain(bound.get("attention_mask", bound.get("kwargs", {}).get("attention_mask")))


def _plain(mask: Any) -> Tensor | None:
    return mask if isinstance(mask, Tensor) and mask.dim() == 2 else None


def share_masks(model: nn.Module, backbone: Backbone) -> list[RemovableHandle]:
    """Let a model's embeddings and encoders leave their masks in the route of each call, as its record says."""
    hooks = []
    for path, module in model.named_modules():
        if path.rpartition(".")[2] == "embeddings":
            if backbone.draws == "embeddings":
                hooks += draw_in(module)
            if backbone.windows or backbone.mask in ("embeddings", "found"):
                hooks.append(module.register_forward_hook(partial(_read_embeddings, backbone), with_kwargs=True))
        elif path and isinstance(module, PreTrainedModel) and backbone.mask in ("towers", "found"):
            hooks.append(module.register_forward_pre_hook(partial(_read_call, backbone), with_kwargs=True))
    return hooks


def _read_call(backbone: Backbone, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """CLIP's text encoder is called with a mask, its vision encoder without; FLAVA's third with that of both."""
    route = ROUTE.get()
    if route is not None and (backbone.mask == "towers" or "attention_mask" in kwargs):
        route.mask = _plain(kwargs.get("attention_mask"))


def _read_embeddings(
    backbone: Backbone, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> None:
    """ViLT chooses patches in its embeddings, which return the mask of the chosen ones beside them."""
    route = ROUTE.get()
    if route is None:
        return
    tokens, mask = output if isinstance(output, tuple) and len(output) == 2 else (output, None)
    if backbone.windows:
        route.sequences = len(tokens) if isinstance(tokens, Tensor) else None
    if backbone.mask == "embeddings":
        route.mask = mask
    elif backbone.mask == "found":
        if isinstance(mask, Tensor) and isinstance(tokens, Tensor) and mask.shape == tokens.shape[:2]:
            route.mask = mask
        else:  # the call's, if the embeddings take no images
            has_pixels = any(isinstance(value, Tensor) and value.dim() == 4 for value in (*args, *kwargs.values()))
            route.mask = None if has_pixels else route.padding
