"""Where a model comes from: a folder or repository of learned tasks, or a backbone. Nothing found there is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from torch import nn
from transformers import AutoModel, AutoProcessor, PreTrainedModel

from atlas_hf.folder import INDEX
from atlas_hf.hub.errors import NoTasksError
from atlas_hf.hub.loading import download

# Backbones that come with the package, by the id that atlas.json names.
SHIPPED_BACKBONES = {"atlas-hf/digits-vilt": Path(__file__).parents[1] / "streams" / "digits" / "digits_vilt"}


def locate(
    model_id: str | Path, revision: str | None = None, tasks: Sequence[str] | None = None, token: str | bool | None = None
) -> Path | None:
    """The folder of learned tasks that a path or repository id stands for; None if it is a backbone.

    Of a repository only the files of the given tasks (default: all) and of what they reuse are downloaded and checked.
    """
    if str(model_id) in SHIPPED_BACKBONES:
        return None
    folder = Path(model_id)
    if not folder.is_dir():
        if not is_repository(str(model_id)):
            raise ValueError(f"There is no folder {str(model_id)!r}, and it is no repository id ('owner/name').")
        try:
            folder = download(str(model_id), revision=revision, tasks=tasks and list(tasks), token=token)
        except NoTasksError:
            return None
    return folder if (folder / INDEX).is_file() else None


def is_repository(name: str) -> bool:
    """Could this be the id of a repository on the Hub? It need not be there."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def load_backbone(
    source: PreTrainedModel | str | Path, revision: str | None, dtype: torch.dtype, token: str | bool | None
) -> tuple[PreTrainedModel, Any, str | None]:
    """The backbone, its processor (None if it has none), and the id to find it again."""
    if isinstance(source, nn.Module):
        name = source.name_or_path or None
        return source, _processor(name, None, token) if name else None, name
    path = str(SHIPPED_BACKBONES.get(str(source), source))
    options = {"revision": revision, "token": token, "trust_remote_code": False}
    backbone = AutoModel.from_pretrained(path, dtype=dtype, use_safetensors=True, **options)
    return backbone, _processor(path, revision, token), str(source)


def _processor(path: str, revision: str | None, token: str | bool | None) -> Any:
    """The backbone's processor; None if it has none (then `predict` and the Trainer need one to be passed)."""
    try:
        return AutoProcessor.from_pretrained(path, revision=revision, token=token, trust_remote_code=False)
    except (OSError, ValueError):
        return None
