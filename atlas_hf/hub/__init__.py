"""Between a folder of learned tasks and the Hub: one commit and one tag per task, exactly once; and back.

Knows files, not models; may import `folder`. In the order of imports: `checks`, what can be asked for; `backbones`;
`errors`, and what one of the client means; `folder`, what of a folder belongs to which task; `retry`; `sizes`;
`target`, a repository; `pushing` and `loading`; `sentence_encoders`.
"""

from atlas_hf.hub.backbones import SHIPPED_BACKBONES, local_or_id
from atlas_hf.hub.checks import check_is_there, check_request, is_repository
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
from atlas_hf.hub.loading import download, load_backbone, locate, read_backbone
from atlas_hf.hub.pushing import FilledSpace, Pushed, fill_space, push, pushable_tasks
from atlas_hf.hub.retry import Retry, until_done
from atlas_hf.hub.sentence_encoders import trained_pooling
from atlas_hf.hub.target import check_data_set, check_login, ensure_writable_repo

__all__ = [
    "SHIPPED_BACKBONES", "AccessError", "CorruptFileError", "FilledSpace", "Finished", "FolderError", "HubError",
    "HubUnavailableError", "NoTasksError", "PushConflictError", "PushRejectedError", "Pushed", "Retry",
    "check_data_set", "check_is_there", "check_login", "check_request", "download", "ensure_writable_repo",
    "fill_space", "finished_tasks", "is_repository", "load_backbone", "local_or_id", "locate", "push",
    "pushable_tasks", "read_backbone", "snapshot", "trained_pooling", "until_done",
]  # fmt: skip
