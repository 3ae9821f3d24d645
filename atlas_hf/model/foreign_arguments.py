"""Arguments in the words and the order of PEFT and transformers: taken for what an `AtlasModel` calls them.

Those that it has no use for are refused by name, with the way out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedModel


class Foreign(NamedTuple):
    """An argument of theirs: the values that ask for nothing, and why every other is refused."""

    idle: tuple[Any, ...]
    reason: str


_ONE_COMMIT_EACH = "each task is a commit of its own, with a message that later pushes know it by"
_FOLDER_OF_HUB = "what is downloaded lies in the cache of huggingface_hub: set HF_HUB_CACHE before Python starts"
FROM_PRETRAINED = {
    "adapter_name": Foreign((None,), "tasks have names of their own; choose some with tasks=['...']"),
    "subfolder": Foreign((None,), "a task lies in the folder of its name; choose some with tasks=['...']"),
    "is_trainable": Foreign((False,), "what is learned stays; to go on with a task, give it to AtlasTrainer"),
    "autocast_adapter_dtype": Foreign((True,), "adapters are kept in float32; for the backbone there is dtype=..."),
    "ephemeral_gpu_offload": Foreign((False,), "an adapter is small and lies where its backbone lies"),
    "low_cpu_mem_usage": Foreign((True, False), ""),  # tasks are always loaded so
    "key_mapping": Foreign((None,), "a file's keys have to be those that save_pretrained wrote"),
    "torch_dtype": Foreign((None,), "here it is called dtype"),
    "device_map": Foreign((None,), "load the backbone with it, and give that: from_pretrained(backbone, folder)"),
    "trust_remote_code": Foreign((False, None), "no code of a repository is run; load the backbone yourself"),
    "use_auth_token": Foreign((None,), "here it is called token"),
    "cache_dir": Foreign((None,), _FOLDER_OF_HUB),
    "local_files_only": Foreign((False,), "set HF_HUB_OFFLINE=1 before Python starts"),
    "force_download": Foreign((False,), "every file is checked by its sha256, so there is no need"),
}
SAVE_PRETRAINED = {
    "path_initial_model_for_weight_conversion": Foreign((None,), "it is for adapters that are a difference of two"),
    "state_dict": Foreign((None,), "a task's own tensors are saved"),
    "max_shard_size": Foreign((None, "50GB"), "a task is one file"),
    "variant": Foreign((None,), "a task's files have fixed names"),
    **dict.fromkeys(("commit_message", "revision", "create_pr"), Foreign((None, False), _ONE_COMMIT_EACH)),
}
PUSH_TO_HUB = {
    **dict.fromkeys(("commit_message", "commit_description"), Foreign((None,), _ONE_COMMIT_EACH)),
    "revision": Foreign((None, "main"), "for another branch: save_pretrained, then atlas_hf.hub.push(revision=...)"),
    "create_pr": Foreign((False,), "for another branch: save_pretrained, then atlas_hf.hub.push(revision=...)"),
    "safe_serialization": Foreign((True,), "there are safetensors only: nothing else can be loaded safely"),
    "max_shard_size": Foreign((None, "50GB"), "a task is one file"),
    "tags": Foreign((None,), "the card has those of the tasks; edit it on the Hub, and later pushes leave it"),
}


def refuse(method: str, given: Mapping[str, Any], known: Mapping[str, Foreign]) -> None:
    """Raise a `TypeError` for an argument that nobody knows, a `ValueError` for one of `known` that asks for much."""
    for name, value in given.items():
        if name not in known:
            raise TypeError(f"{method}() got an unexpected keyword argument {name!r}")
        if not any(value is idle or value == idle for idle in known[name].idle):
            # The value may be a secret.
            raise ValueError(f"{method}({name}=...) is not for an AtlasModel: {known[name].reason}. Leave it out.")


def tasks_to_save(
    tasks: Sequence[str] | None,
    selected_adapters: Sequence[str] | None,
    safe_serialization: bool,
    save_embedding_layers: str | bool,
) -> Sequence[str] | None:
    """What `save_pretrained` is to write, None for all. The last two could only say what is done anyway."""
    if safe_serialization is not True or save_embedding_layers not in ("auto", False):
        raise ValueError(
            f"safe_serialization is {safe_serialization!r} and save_embedding_layers {save_embedding_layers!r}; "
            "tasks are written as safetensors, without the backbone. Leave both out; write tasks=[...] by keyword."
        )
    if tasks is not None and selected_adapters is not None:
        raise ValueError("selected_adapters is PEFT's word for tasks. Give one of both.")
    return selected_adapters if tasks is None else tasks


def told_apart(
    model: PreTrainedModel | str | Path | None,
    model_id: str | Path | None,
    backbone: PreTrainedModel | str | Path | None,
) -> tuple[str | Path | None, PreTrainedModel | str | Path | None]:
    """What `from_pretrained` was given: where the tasks (or the bare backbone) are, and the backbone to take."""
    if isinstance(model_id, nn.Module):
        raise TypeError("The backbone comes first: from_pretrained(backbone, 'folder').")
    if isinstance(model, nn.Module):
        if backbone is not None:
            raise TypeError("There are two backbones: the first argument, and backbone=. Give one of both.")
        return model_id, model
    if model is not None and model_id is not None:
        raise TypeError(
            f"{str(model)!r} and {str(model_id)!r} were given. Write revision=, tasks= or backbone= by its name, or "
            "give the backbone as a loaded model first: from_pretrained(backbone, 'folder')."
        )
    if model is None and model_id is None:
        raise TypeError("Nothing to load: give a folder, a repository id, or a backbone.")
    return model_id if model is None else model, backbone
