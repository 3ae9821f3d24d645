"""Learned tasks from the Hub to the local cache: the revision resolved once, our files alone, every digest checked.

And where a model comes from: a folder or repository of learned tasks, or a backbone.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import torch
from huggingface_hub import HfApi, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RevisionResolutionError,
)
from torch import nn

from atlas_hf.folder import INDEX, RESULTS, TASK_FILES, Index, file_sha256
from atlas_hf.hub.backbones import PICKLES, SHIPPED_BACKBONES, check_backbone_folder, local_or_id, no_safetensors
from atlas_hf.hub.checks import check_request, is_repository
from atlas_hf.hub.errors import CorruptFileError, HubUnavailableError, NoTasksError
from atlas_hf.hub.retry import Retry, until_done
from atlas_hf.hub.sizes import check_index_size, check_task_sizes, readable_backbone

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")


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
    check_request(repo_id, revision, token)
    where, what = {"endpoint": endpoint, "token": token, "cache_dir": cache_dir}, f"download {repo_id}"
    try:
        sha = until_done(lambda: _resolve(repo_id, revision, where), what, retry, first_contact=True)
    except HubUnavailableError as error:
        raise HubUnavailableError(
            f"{error} A folder needs none, nor does what is in the cache already, with HF_HUB_OFFLINE=1."
        ) from error
    folder, index, names = until_done(lambda: _fetch(repo_id, sha, tasks, where), what, retry)
    for name in names:
        for file, digest in index.tasks[name].files.items():
            path = folder / name / file
            if (found := file_sha256(path)) != digest:  # the client does not check what it downloads
                raise CorruptFileError(
                    f"{path} has sha256 {found}, but {INDEX} records {digest}. Delete `{path}` and the file it links"
                    f" to, `{path.resolve()}`, then load again to fetch a fresh copy."
                )
    return folder


def _fetch(
    repo_id: str, sha: str, tasks: Sequence[str] | None, where: dict[str, Any]
) -> tuple[Path, Index, list[str]]:
    """Folder, index and names of the tasks, not yet checked."""
    index = _fetch_index(repo_id, sha, where)
    names = index.closure(None if tasks is None else list(tasks))
    paths = [f"{name}/{file}" for name in names for file in TASK_FILES]
    check_task_sizes(repo_id, sha, paths, where)
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
        check_index_size(repo_id, sha, where)
        path = Path(hf_hub_download(repo_id, INDEX, revision=sha, **where))
    except RemoteEntryNotFoundError as error:
        raise NoTasksError(
            f"{repo_id} does not hold a whole model that atlas_hf pushed: {str(error).rstrip('.')}."
        ) from error
    except LocalEntryNotFoundError as error:
        # Offline, with a backbone in the cache that nobody ever asked for atlas.json: it still loads, as a backbone.
        if isinstance(try_to_load_from_cache(repo_id, "config.json", where["cache_dir"], sha), str):
            raise NoTasksError(f"{repo_id} is a backbone, as far as the cache holds it.") from error
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
            whole, _, inner = str(model_id).rpartition("/")
            text = f"There is no folder {str(model_id)!r}, and it is no repository id ('owner/name')."
            if "/" in whole and is_repository(whole):
                text += (
                    f" If {inner!r} is a folder of it: huggingface_hub.snapshot_download({whole!r}), then its path."
                )
            raise ValueError(text)
        try:
            folder = download(str(model_id), revision=revision, tasks=tasks and list(tasks), token=token)
        except NoTasksError:
            return None
    return folder if (folder / INDEX).exists() else None


def load_backbone(
    source: "PreTrainedModel | str | Path", revision: str | None, dtype: torch.dtype, token: str | bool | None
) -> "tuple[PreTrainedModel, Any, str | None]":
    """The backbone, its processor (None if it has none), and the id to find it again: of a folder, its absolute path.

    Nothing found there is run. Raises a `ValueError` or `OSError` of a line for what cannot be loaded.
    """
    if isinstance(source, nn.Module):
        name = source.name_or_path or None
        return source, _processor(name, None, token) if name else None, name and local_or_id(name)
    backbone = read_backbone(source, revision, dtype, token)
    return backbone, _processor(_place(source), revision, token), local_or_id(str(source))


def read_backbone(
    source: str | Path,
    revision: str | None,
    dtype: torch.dtype,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> "PreTrainedModel":
    """The backbone alone, as `load_backbone` gives it; with `local_files_only` without a connection."""
    from transformers import AutoModel  # takes seconds, and a push needs no model

    path = _place(source)
    options = {"revision": revision, "token": token, "local_files_only": local_files_only, "trust_remote_code": False}
    if Path(path).is_dir():
        check_backbone_folder(Path(path))
    elif not local_files_only:
        _check_backbone_repository(path, revision, token)
    checked = nullcontext() if local_files_only else readable_backbone(path, revision, token)
    try:
        with checked:
            return AutoModel.from_pretrained(path, dtype=dtype, use_safetensors=True, **options)
    except OSError as error:  # many lines, with advice that is wrong here
        raise OSError(
            f"The backbone {path!r} cannot be loaded: {str(error).strip().splitlines()[0]} Give a folder, or a "
            "repository that can be reached, with a model of transformers."
        ) from error


def _place(source: str | Path) -> str:
    return str(SHIPPED_BACKBONES.get(str(source), source))


def _check_backbone_repository(repo_id: str, revision: str | None, token: str | bool | None) -> None:
    """Raises a `ValueError` if it holds no safetensors: transformers would ask a service on the Hub to convert it."""
    cached = (try_to_load_from_cache(repo_id, name, revision=revision) for name in _SAFETENSORS)
    if any(isinstance(path, str) for path in cached):
        return
    try:
        siblings = HfApi(token=token).model_info(repo_id, revision=revision, timeout=10.0).siblings or ()
    except (httpx2.HTTPError, OSError):  # transformers says what is wrong, or has all in its cache
        return
    files = [sibling.rfilename for sibling in siblings]
    if not any(file.endswith(".safetensors") for file in files):
        raise no_safetensors(repo_id, [file for file in files if file.endswith(PICKLES)])


def _processor(path: str, revision: str | None, token: str | bool | None) -> Any:
    """The backbone's processor; None if it has none (then `predict` and the Trainer need one to be passed)."""
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(path, revision=revision, token=token, trust_remote_code=False)
    except (OSError, ValueError):
        return None
