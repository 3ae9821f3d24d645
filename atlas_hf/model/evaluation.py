"""Evaluation as a property of a call, not of the model: it runs on a twin, and nobody's mode or random state moves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any, TypeVar

from torch import nn

from atlas_hf.tuner import AtlasLayer, PackCache, one_seed

Model = TypeVar("Model", bound=nn.Module)
# What computes the same in training and in evaluation, if it is of this class and not of one derived from it.
_ALIKE = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.Conv2d, nn.Identity, nn.Tanh, nn.GELU, nn.ReLU, nn.SiLU)
_AS_IT_IS = frozenset((*vars(nn.Module()), "_compiled_call_impl"))
_POINTING = (MethodType, partial, dict, list, tuple)  # what may hold modules beside a module's children


@contextmanager
def evaluating(model: Model) -> Iterator[Model]:
    """A twin of the model in evaluation mode, under a fixed seed: the same inputs give it the same bits.

    Whatever the mode of the model is, and whoever trains or asks it in other threads: nothing of it is changed. The
    twin holds for the block; what is added to the model meanwhile is not in it.
    """
    if vars(model).get("_is_twin"):  # within such a block
        yield model
        return
    with one_seed():
        yield _twin(model)


def _twin(model: Model) -> Model:
    """The same parameters, buffers, hooks and settings in modules of their own, all in evaluation mode.

    Modules say themselves whether they train, and their code reads it wherever it likes, so each is copied, as it is
    now: its dict, which holds parameters and buffers by reference, and no tensor. A copy that was kept would have to
    notice every change of the model; this one costs some microseconds per module.
    """
    copies: dict[int, nn.Module] = {}
    twin = _copied(model, copies)
    for module in copies.values():
        _point_to(copies, module)
    vars(twin)["_is_twin"] = True
    return twin


def _copied(module: Any, copies: dict[int, nn.Module]) -> Any:
    """A module's copy, with copies of its children; itself if that makes no difference. Fills `copies`, by id."""
    if type(module) in _ALIKE or module is None:
        return module
    if isinstance(module, AtlasLayer):
        return _copied_site(module, copies)
    if id(module) in copies:
        return copies[id(module)]
    copy = copies[id(module)] = object.__new__(type(module))
    state = vars(copy)
    state.update(vars(module), training=False)
    state["_modules"] = {name: _copied(child, copies) for name, child in tuple(module._modules.items())}  # noqa: SLF001
    if "_original_forward" in state:  # accelerate has put mixed precision around it, for the training
        state["forward"] = state["_original_forward"]
    if "_compiled_call_impl" in state:
        knows_sites = not any(isinstance(module, AtlasLayer) for module in copies.values())
        state["_compiled_call_impl"] = partial(_compiled, module, copy) if knows_sites else None
    return copy


def _copied_site(site: AtlasLayer, copies: dict[int, nn.Module]) -> AtlasLayer:
    """Adapters compute the same in both modes, and are many: only what they stand on is copied.

    While a site trains, its weights may be written in ways that its packs do not notice, so the copy packs anew.
    """
    base = _copied(site.base_layer, copies)
    if base is site.base_layer and not site.training:
        return site
    copy = copies[id(site)] = object.__new__(type(site))
    children = {**site._modules, "base_layer": base}  # noqa: SLF001
    vars(copy).update(vars(site), training=False, _modules=children)
    if site.training:
        vars(copy)["packs"] = PackCache()
    return copy


def _compiled(module: nn.Module, copy: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """What is compiled is bound to its module; when that trains, the copy computes without the compiler."""
    if not any(part.training for part in module.modules()):
        result = module._compiled_call_impl(*args, **kwargs)  # type: ignore[misc]  # noqa: SLF001
        if not any(part.training for part in module.modules()):  # another thread may have begun to train
            return result
    return copy._call_impl(*args, **kwargs)  # noqa: SLF001


def _point_to(copies: Mapping[int, nn.Module], copy: nn.Module) -> None:
    """Let what a copy keeps beside its children, such as a `forward` of its own, mean the copies."""
    state = vars(copy)
    for name, value in state.items():
        if name not in _AS_IT_IS and type(value) in _POINTING:
            state[name] = _pointed(copies, value)


def _pointed(copies: Mapping[int, nn.Module], value: Any) -> Any:
    if isinstance(value, nn.Module):
        return copies.get(id(value), value)
    if isinstance(value, MethodType):
        return MethodType(value.__func__, _pointed(copies, value.__self__))
    if isinstance(value, partial):
        args = (_pointed(copies, arg) for arg in value.args)
        pointed = partial(_pointed(copies, value.func), *args, **value.keywords)
        vars(pointed).update(vars(value))  # accelerate's keeps the signature that it wraps
        return pointed
    if isinstance(value, dict) and any(id(item) in copies for item in value.values()):
        return {name: copies.get(id(item), item) for name, item in value.items()}
    if isinstance(value, (list, tuple)) and any(id(item) in copies for item in value):
        return type(value)(copies.get(id(item), item) for item in value)
    return value
