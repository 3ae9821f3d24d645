"""Learned tasks from the Hub to the local cache: the revision resolved once, our files alone, every digest checked.

And where a model comes from: a folder or repository of learned tasks, or a backbone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import HfApi, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils import validate_repo_id
from torch import nn

from atlas_hf.folder import INDEX, RESULTS, TASK_FILES, Index, file_sha256
from atlas_hf.hub.errors import CorruptFileError, NoTasksError
from atlas_hf.hub.retry import Retry, until_done

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Backbones that come with the package, by the id that atlas.json names.
SHIPPED_BACKBONES = {"atlas-hf/digits-vilt": Path(__file__).parents[1] / "streams" / "digits" / "digits_vilt"}


def download(
    repo_id: str,
    *,
    revision: str | None = None,
    tasks: Sequence[str] | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
    retry: Retry = Retry(tries=3),  # noqa: B008 (frozen)
) -> Path:
    """The folder of `repo_id` at `revision` in the local cache: all its tasks, or `tasks` and what they reuse.

    The revision is resolved once; with a commit sha and a warm cache no request is sent. Only atlas.json, results.json
    and the three files of each task are fetched, and the latter are checked against the sha256 in atlas.json.

    Raises: `AccessError`, `NoTasksError`, `FolderError` (half a model of ours), `AtlasFormatError`, `ValueError`
    (unknown task), `CorruptFileError`, `HubUnavailableError`.
    """
    where = {"endpoint": endpoint, "token": token, "cache_dir": cache_dir}
    folder, index, names = until_done(lambda: _fetch(repo_id, revision, tasks, where), f"download {repo_id}", retry)
    for name in names:
        for file, digest in index.tasks[name].files.items():
            path = folder / name / file
            if (found := file_sha256(path)) != digest:  # the client does not check what it downloads
                raise CorruptFileError(
                    f"{path} has sha256 {found}, but {INDEX} records {digest}. Delete `{path}` and the file it links"
                    f" to, `{path.resolve()}`, then load again to fetch a fresh copy"
                )
    return folder


def _fetch(
    repo_id: str, revision: str | None, tasks: Sequence[str] | None, where: dict[str, Any]
) -> tuple[Path, Index, list[str]]:
    """Folder, index and names of the tasks, not yet checked."""
    sha = _resolve(repo_id, revision, where)
    index = _fetch_index(repo_id, sha, where)
    names = index.closure(None if tasks is None else list(tasks))
    paths = [f"{name}/{file}" for name in names for file in TASK_FILES]
    folder = Path(snapshot_download(repo_id, revision=sha, allow_patterns=[INDEX, RESULTS, *paths], **where))
    for path in paths:  # where the listing failed, the client returns half a folder as if it were whole
        if not (folder / path).is_file():
            hf_hub_download(repo_id, path, revision=sha, **where)
    return folder, index, names


def _resolve(repo_id: str, revision: str | None, where: dict[str, Any]) -> str:
    """The commit's sha; without a connection, the one that the revision had last."""
    api = HfApi(endpoint=where["endpoint"], token=where["token"])
    try:
        return api.resolve_revision(repo_id, revision=revision, cache_dir=where["cache_dir"]).resolved
    except RevisionResolutionError as error:
        raise error.__cause__ or ConnectionError(str(error)) from None


def _fetch_index(repo_id: str, sha: str, where: dict[str, Any]) -> Index:
    """`atlas.json`, which says what else to fetch."""
    try:
        path = Path(hf_hub_download(repo_id, INDEX, revision=sha, **where))
    except RemoteEntryNotFoundError as error:
        raise NoTasksError(f"{repo_id} does not hold a whole model that atlas_hf pushed: {error}") from error
    except LocalEntryNotFoundError as error:
        # Offline, with a backbone in the cache that nobody ever asked for atlas.json: it still loads, as a backbone.
        if isinstance(try_to_load_from_cache(repo_id, "config.json", where["cache_dir"], sha), str):
            raise NoTasksError(f"{repo_id} is a backbone, as far as the cache holds it") from error
        raise
    return Index.load(path.parent)


def locate(
    model_id: str | Path,
    revision: str | None = None,
    tasks: Sequence[str] | None = None,
    token: str | bool | None = None,
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
    source: "PreTrainedModel | str | Path", revision: str | None, dtype: torch.dtype, token: str | bool | None
) -> "tuple[PreTrainedModel, Any, str | None]":
    """The backbone, its processor (None if it has none), and the id to find it again. Nothing found there is run."""
    if isinstance(source, nn.Module):
        name = source.name_or_path or None
        return source, _processor(name, None, token) if name else None, name
    backbone = read_backbone(source, revision, dtype, token=token)
    return backbone, _processor(_place(source), revision, token), str(source)


def read_backbone(source: str | Path, revision: str | None, dtype: torch.dtype, **options: Any) -> "PreTrainedModel":
    """The backbone alone. Nothing found there is run. `options` are transformers' own."""
    from transformers import AutoModel  # takes seconds, and a push needs no model

    options |= {"revision": revision, "trust_remote_code": False, "use_safetensors": True}
    return AutoModel.from_pretrained(_place(source), dtype=dtype, **options)


def _place(source: str | Path) -> str:
    return str(SHIPPED_BACKBONES.get(str(source), source))


def _processor(path: str, revision: str | None, token: str | bool | None) -> Any:
    """The backbone's processor; None if it has none (then `predict` and the Trainer need one to be passed)."""
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(path, revision=revision, token=token, trust_remote_code=False)
    except (OSError, ValueError):
        return None
