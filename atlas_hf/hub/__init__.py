"""Between a folder of learned tasks and the Hub: one commit and one tag per task, exactly once; and back.

Knows files, not models; may import `folder`. In the order of imports: `errors`; `folder`, what of a
folder belongs to which task; `timeouts` and `failures`, what the client of the Hub leaves to us; `retry`; `access`;
`target`, what the Hub holds; `pushing`, `spaces` and `loading`; `sources`, where a model comes from.
"""

from atlas_hf.hub.access import ensure_writable_repo
from atlas_hf.hub.errors import (
    AccessError,
    CorruptFileError,
    FolderError,
    HubError,
    HubUnavailableError,
    NoTasksError,
    PushConflictError,
    PushRejectedError,
)
from atlas_hf.hub.folder import Finished, finished_tasks, snapshot
from atlas_hf.hub.loading import download
from atlas_hf.hub.pushing import Pushed, push
from atlas_hf.hub.retry import Retry
from atlas_hf.hub.spaces import FilledSpace, fill_space

__all__ = [
    "AccessError",
    "CorruptFileError",
    "FilledSpace",
    "Finished",
    "FolderError",
    "HubError",
    "HubUnavailableError",
    "NoTasksError",
    "PushConflictError",
    "PushRejectedError",
    "Pushed",
    "Retry",
    "download",
    "ensure_writable_repo",
    "fill_space",
    "finished_tasks",
    "push",
    "snapshot",
]
