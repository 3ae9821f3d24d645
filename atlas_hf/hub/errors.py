"""What can go wrong between a folder and the Hub, one class for each thing that its user would do about it."""

from __future__ import annotations


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
