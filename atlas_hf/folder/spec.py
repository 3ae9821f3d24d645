"""`task.json`: a task's `TaskSpec`, read and checked."""

from pathlib import Path

from atlas_hf.folder.files import SPEC, AtlasFormatError
from atlas_hf.folder.reading import brief, read_json
from atlas_hf.folder.records import check_types
from atlas_hf.tasks import TaskSpec


def read_spec(task: Path) -> TaskSpec:
    """What the task of a folder is. Raises `AtlasFormatError`, for a field of another type, too."""
    try:
        spec = TaskSpec.from_dict(read_json(task / SPEC))
    except (TypeError, ValueError) as error:
        raise AtlasFormatError(f"{task.name}/{SPEC} is not one of atlas_hf: {brief(error)}") from error
    check_types(spec, f"{task.name}/{SPEC}")
    return spec
