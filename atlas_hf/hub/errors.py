"""What can go wrong between a folder and the Hub, one class for each thing that its user would do about it.

And what an error of the client means: something to wait for (`temporary`), or something to tell the user (`refuse`).
"""

import json
import re
from collections.abc import Iterator

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
)


class HubError(RuntimeError):
    """What went wrong between a folder and the Hub.

    `push` and `download` raise this, or `ValueError` for wrong arguments and files (`AtlasFormatError` is one): a
    training run that catches both outlives a failed push.
    """


class FolderError(HubError, ValueError):
    """A folder or repository does not hold what was asked for."""


class NoTasksError(FolderError):
    """A repository without atlas.json: not a model of ours, perhaps a backbone."""


class AccessError(HubError):
    """No token, a wrong one, one without the right to do this, or no such repository or revision."""


class PushConflictError(HubError):
    """The repository holds another history than the folder."""


class PushRejectedError(HubError):
    """The Hub will not take this push, however often it is sent."""


class HubUnavailableError(HubError):
    """The Hub could not be reached, or kept failing. Nothing is lost: push again later."""


class CorruptFileError(HubError):
    """A file does not have the sha256 that atlas.json records."""


def temporary(error: BaseException) -> BaseException | None:
    """The error to wait for, or None if waiting does not help. The client wraps what stopped an upload."""
    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            return cause if status in (408, 409, 412, 425, 429) or status >= 500 else None
        if isinstance(cause, OfflineModeIsEnabled):
            return None
        if isinstance(cause, (httpx2.TransportError, httpx2.DecodingError, ConnectionError, json.JSONDecodeError)):
            return cause  # a reply that is not JSON comes from a proxy between us and the Hub
    # hf_xet reports whatever happens to it as a bare RuntimeError; each try begins by reading, so one more is safe
    return error if type(error) is RuntimeError and error.__cause__ is None else None


def refuse(error: BaseException, what: str) -> None:
    """Raises the clear error for what waiting does not cure. Returns for a `ValueError`, which is clear already."""
    cause = next((one for one in _causes(error) if isinstance(one, (HfHubHTTPError, OfflineModeIsEnabled))), None)
    text = f"could not {what}: {str(cause or error).strip()}"
    if isinstance(cause, OfflineModeIsEnabled):
        raise HubUnavailableError(
            f"{text} Unset HF_HUB_OFFLINE, or give a commit sha that is in the cache."
        ) from error
    if isinstance(cause, EntryNotFoundError):
        raise FolderError(f"{text}\nThe repository does not hold a whole model that atlas_hf pushed.") from error
    if isinstance(cause, RevisionNotFoundError):
        raise AccessError(f"{text}\nGive a branch, a tag such as task-01-<name>, or a commit sha.") from error
    status = cause.response.status_code if cause is not None else None
    if status in (401, 403, 404) or isinstance(error, LocalTokenNotFoundError):
        raise AccessError(
            f"{text}\nCheck the repository's name, and that the token (`hf auth login`) may do this."
        ) from error
    if cause is not None or re.search("README.md|LFS batch", str(error)):
        raise PushRejectedError(f"{text}\nCorrect what the Hub names, then push again.") from error
    if not isinstance(error, ValueError):  # a full disk, a refusal by hf_xet ...
        raise HubError(f"{text} ({type(error).__name__}).") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
