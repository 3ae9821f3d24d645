"""What the Hub or a backbone's folder holds, against the limits of `atlas_hf.folder`, before it is fetched or parsed.

The client downloads whatever is there, and transformers parses whatever was downloaded.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, StrictDataclassError
from huggingface_hub.hf_api import RepoFile
from safetensors import SafetensorError, safe_open
from torch import OutOfMemoryError

from atlas_hf.folder import (
    BACKBONE_HEADER,
    INDEX,
    RESULTS,
    AtlasFormatError,
    brief,
    check_bytes,
    check_header,
    check_json,
    check_size,
    limit_of,
)
from atlas_hf.hub.building import Built, check_counts, no_larger_than
from atlas_hf.hub.retry import limited_time

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
# Beside a backbone's weights, what transformers reads whole, if it is there.
_READ_WHOLE = (
    _CONFIG, "adapter_config.json", "generation_config.json", "model.safetensors.index.json",
    "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json", "chat_template.json",
    "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt",
    "spiece.model", "spm.model", "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip
_ANY_SIZE = 2**63
_UNKNOWN = Built(50_000, _ANY_SIZE)
_AT_ONCE = 500  # paths in one question


def check_index_size(repo_id: str, sha: str, where: dict[str, Any]) -> None:
    """`atlas.json` is within its limit; errors as those of `hf_hub_download`, and `AtlasFormatError`."""
    found = hf_hub_download(repo_id, INDEX, revision=sha, dry_run=True, **where)
    check_bytes(f"{repo_id}/{INDEX}", found.file_size, limit_of(Path(INDEX)).bytes)


def check_task_sizes(repo_id: str, sha: str, paths: Sequence[str], where: dict[str, Any]) -> None:
    """`results.json` and the tasks' files are within their limits. With all of them in the cache nothing is asked."""
    if all(_cached(repo_id, path, sha, where["cache_dir"]) for path in paths):
        return
    api, asked = HfApi(endpoint=where["endpoint"], token=where["token"]), [RESULTS, *paths]
    for start in range(0, len(asked), _AT_ONCE):
        for file in api.get_paths_info(repo_id, asked[start : start + _AT_ONCE], revision=sha):
            if isinstance(file, RepoFile):
                check_bytes(f"{repo_id}/{file.path}", file.size, limit_of(Path(file.path)).bytes)


def _cached(repo_id: str, path: str, revision: str | None, cache_dir: Path | str | None = None) -> Path | None:
    found = try_to_load_from_cache(repo_id, path, cache_dir, revision)
    return Path(found) if isinstance(found, str) else None


@contextmanager
def readable_backbone(source: str, revision: str | None, token: str | bool | None) -> Iterator[None]:
    """While transformers loads a backbone: its files are within the limits, and what stops it is an error with words.

    Args:
        source: a folder, or a repository, whose small files and weights in one file are fetched for that.

    Raises:
        AtlasFormatError: a file is too large, damaged, or says what no backbone has, or not what its weights have.
    """
    if Path(source).is_dir():
        weights = _check_backbone(Path(source))
    elif config := _cached(source, _CONFIG, revision):
        weights = _check_backbone(config.parent)
    else:
        weights = _fetch_checked(source, revision, token)
    try:
        with no_larger_than(source, weights):
            yield
    except OutOfMemoryError:
        raise
    except RuntimeError as error:  # with a report in the log
        raise AtlasFormatError(
            f"The backbone {source} cannot be loaded: its {_CONFIG} does not fit its weights ({_line(error)}). "
            "Restore its files."
        ) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, SafetensorError, StrictDataclassError) as error:
        raise AtlasFormatError(
            f"The backbone {source} cannot be loaded: {_line(error)} ({type(error).__name__}). Restore its files."
        ) from error


def _line(error: Exception) -> str:
    return " ".join(brief(error).split())


def _check_backbone(folder: Path) -> Built:
    weights = [path for path in folder.glob("*.safetensors") if path.exists()]
    for path in [*(folder / name for name in _READ_WHOLE if (folder / name).exists()), *weights]:
        _check_file(path)
    return _held(weights)


def _held(weights: Sequence[Path]) -> Built:
    """What is in files of weights; without one, as much as anybody's: transformers fetches those in several files."""
    if not weights:
        return _UNKNOWN
    tensors = 0
    for path in weights:
        with safe_open(path, framework="np") as file:
            tensors += len(file.keys())
    return Built(tensors, sum(path.stat().st_size for path in weights))


def _check_file(path: Path) -> None:
    if path.suffix == ".safetensors":
        check_header(path, BACKBONE_HEADER, _ANY_SIZE)
    elif path.suffix == ".json":
        check_json(path)
        if path.name == _CONFIG:
            check_counts(path)
    else:
        check_size(path)


def _fetch_checked(repo_id: str, revision: str | None, token: str | bool | None) -> Built:
    """What cannot be had, such as a repository that is not there, is left to transformers to say."""
    try:
        with limited_time():
            found = HfApi(token=token).get_paths_info(repo_id, [*_READ_WHOLE, _WEIGHTS], revision=revision)
    except (OSError, ValueError, EntryNotFoundError, httpx2.HTTPError):
        return _UNKNOWN
    files = {file.path: file.size for file in found if isinstance(file, RepoFile)}
    for path, size in files.items():
        if path != _WEIGHTS:
            check_bytes(f"{repo_id}/{path}", size, limit_of(Path(path)).bytes)
    fetched = [Path(hf_hub_download(repo_id, path, revision=revision, token=token)) for path in files]
    for place in fetched:
        _check_file(place)
    return _held([place for place in fetched if place.name == _WEIGHTS])
