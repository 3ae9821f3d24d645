"""The backbone under the tasks: what it is, to the bit, and whether what `atlas.json` names loads the same again."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from atlas_hf.folder import DTYPES, BaseModel, tensor_bytes
from atlas_hf.hub import is_repository, read_backbone

_SEED = 7_340_033  # of weights that a backbone draws because its folder has none: nobody else's
_SAVE_IT = (
    "Save it, and begin with what was saved: backbone.save_pretrained(folder), AtlasModel.from_pretrained(folder). If "
    "you can make it again yourself, to be passed on loading (from_pretrained(..., backbone=...)), say so: "
    "AtlasModel(backbone, ..., base_id='')."
)


def backbone_tensors(backbone: nn.Module) -> dict[str, Tensor]:
    """Its parameters and buffers, without the tasks', by the names that they have where nothing is wrapped; sorted."""
    own = {name: tensor for name, tensor in backbone.state_dict().items() if ".atlas_" not in name}
    return {name.replace(".base_layer.", "."): own[name] for name in sorted(own)}


def backbone_sha256(backbone: nn.Module) -> str:
    """Digest of its parameters and buffers: names, shapes and values. About 4 ms per million float32 parameters."""
    digest = hashlib.sha256()
    for name, tensor in backbone_tensors(backbone).items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def check_plain(backbone: nn.Module) -> None:
    """Raise a `ValueError` for a backbone that is quantized, by whatever library: what learns on it cannot be loaded.

    And for one without values (on the meta device, offloaded to disk). Quantized is told by transformers' mark, by
    parameters that are no plain tensors of a type that `atlas.json` can name, or by weights that are no tensors at
    all.
    """
    if not isinstance(backbone, PreTrainedModel):
        raise TypeError(
            f"The backbone is a {type(backbone).__name__}; give a model of transformers as it was loaded, without "
            "adapters of PEFT (merge_and_unload, unload), or a folder or id to AtlasModel.from_pretrained."
        )
    empty = [name for name, tensor in backbone.state_dict().items() if getattr(tensor, "is_meta", False)]
    if empty:
        raise ValueError(
            f"The backbone has no values in {len(empty)} tensors, such as {empty[0]}: they are on the meta device, or "
            "on disk (device_map, offload_folder). Load all of it into memory: from_pretrained without a device_map "
            "that offloads."
        )
    found = getattr(backbone, "quantization_method", None) if getattr(backbone, "is_quantized", False) else None
    kinds = {f"{type(p).__name__} in {p.dtype}".replace("torch.", "") for p in backbone.parameters() if _is_odd(p)}
    kinds |= {type(value).__name__ for value in backbone.state_dict().values() if not isinstance(value, Tensor)}
    if found or kinds:
        what = getattr(found, "value", found) or ", ".join(sorted(kinds))
        raise ValueError(
            f"The backbone is quantized ({what}): a model on it could be saved, but not loaded again. Load it without "
            "quantization (dtype=torch.bfloat16 takes half the memory), or train with plain PEFT: "
            "get_peft_model(backbone, AtlasConfig(...))."
        )


def _is_odd(parameter: nn.Parameter) -> bool:
    return type(parameter) is not nn.Parameter or str(parameter.dtype).removeprefix("torch.") not in DTYPES


def check_loads_again(backbone: PreTrainedModel, base: BaseModel) -> None:
    """Raise a `ValueError` unless loading what `base` names gives this backbone: its modules, names, shapes and bits.

    It is loaded once more for that, without a connection. What the cache does not hold cannot be told, and passes; so
    do a part of what is loaded (Whisper's encoder) and a backbone without a name, which are passed on loading.
    """
    if base.id is None:
        return
    try:
        with _quietly():
            again = read_backbone(base.id, base.revision, getattr(torch, base.dtype), local_files_only=True)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and is_repository(base.id) and not Path(base.id).is_dir():
            return
        raise ValueError(f"The backbone could not be loaded again from {base.id!r} ({error}). {_SAVE_IT}") from error
    same_kind = [module for module in again.modules() if type(module) is type(backbone)]
    found = [_difference(backbone, module) for module in same_kind or [again]]
    if all(found):
        raise ValueError(
            f"The backbone could not be loaded again: {base.id!r} (revision {base.revision!r}, in {base.dtype}) gives "
            f"a {type(again).__name__} with {found[0]}. {_SAVE_IT}"
        )


def _difference(backbone: nn.Module, again: nn.Module) -> str | None:
    """In what another backbone differs from this one; None if in nothing."""
    for what, look in (("modules", _modules), ("tensors", _shapes)):
        here, there = look(backbone), look(again)
        if odd := [name for name in here.keys() | there.keys() if here.get(name) != there.get(name)]:
            name = min(odd)
            return f"other {what}: {name or 'the whole'} is {here.get(name)} here, and {there.get(name)} there"
    theirs = backbone_tensors(again)
    moved = [name for name, own in backbone_tensors(backbone).items() if not torch.equal(own.cpu(), theirs[name])]
    return f"other weights: {', '.join(moved[:3])}{', ...' if moved[3:] else ''}" if moved else None


def _modules(backbone: nn.Module) -> Mapping[str, str]:
    """Types by path, as before anything was wrapped."""
    found: dict[str, str] = {}
    for path, module in backbone.named_modules():
        if ".atlas_" not in path:  # a site comes before what it wraps, whose type then takes its place
            found[path.removesuffix(".base_layer").replace(".base_layer.", ".")] = type(module).__name__
    return found


def _shapes(backbone: nn.Module) -> Mapping[str, Any]:
    return {name: (*tensor.shape, tensor.dtype) for name, tensor in backbone_tensors(backbone).items()}


@contextmanager
def _quietly() -> Iterator[None]:
    """Loading says nothing, and moves nobody's random state."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_SEED)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
