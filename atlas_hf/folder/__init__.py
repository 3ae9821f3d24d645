"""The layout on disk and on the Hub, and everything that reads or writes it. Knows files, not models.

Imports `atlas_hf.tasks` and `atlas_hf.metrics` only. `weights` needs torch.
"""

from atlas_hf.folder.disk import check_free, prepared, saying_that_nothing_was_learned, saying_what_is_safe
from atlas_hf.folder.files import (
    CARD,
    CHECKPOINTS,
    CONFIG,
    HISTORY,
    HOME,
    INDEX,
    MARK,
    MATRIX_PLOT,
    NEW_TASKS,
    REPORT_FILES,
    RESULTS,
    REUSE_PLOT,
    ROOT_FILES,
    SPEC,
    START,
    TASK_FILES,
    WEIGHTS,
    AtlasFormatError,
    creating,
    file_sha256,
    json_text,
    kind,
    refuse_links,
    refuse_others,
    sync,
    write_json,
)
from atlas_hf.folder.index import DTYPES, BaseModel, Index, TaskRecord, library_versions
from atlas_hf.folder.ownership import EditedError, Owned, copy_tasks, history_name, paths_of_a_run
from atlas_hf.folder.reading import (
    BACKBONE_HEADER,
    brief,
    check_bytes,
    check_json,
    check_size,
    check_structure,
    limit_of,
    read_bytes,
    read_json,
)
from atlas_hf.folder.records import check_types
from atlas_hf.folder.results import BARE, DOWNSTREAM, FIGURES, UPSTREAM, Alone, Results, TaskResult
from atlas_hf.folder.spec import read_spec
from atlas_hf.folder.weights import check_header, check_task_folder, load_tensors, read_tensors, tensor_bytes

__all__ = [
    "BACKBONE_HEADER", "BARE", "CARD", "CHECKPOINTS", "CONFIG", "DOWNSTREAM", "DTYPES", "FIGURES", "HISTORY", "HOME",
    "INDEX", "MARK", "MATRIX_PLOT", "NEW_TASKS", "REPORT_FILES", "RESULTS", "REUSE_PLOT", "ROOT_FILES", "SPEC",
    "START", "TASK_FILES", "UPSTREAM", "WEIGHTS", "Alone", "AtlasFormatError", "BaseModel", "EditedError", "Index",
    "Owned", "Results", "TaskRecord", "TaskResult", "brief", "check_bytes", "check_free", "check_header", "check_json",
    "check_size", "check_structure", "check_task_folder", "check_types", "copy_tasks", "creating", "file_sha256",
    "history_name", "json_text", "kind", "library_versions", "limit_of", "load_tensors", "paths_of_a_run", "prepared",
    "read_bytes", "read_json", "read_spec", "read_tensors", "refuse_links", "refuse_others",
    "saying_that_nothing_was_learned", "saying_what_is_safe", "sync", "tensor_bytes", "write_json",
]  # fmt: skip
