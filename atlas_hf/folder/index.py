"""`atlas.json`: which backbone, which tasks in which order, and the digests that hold each to what it was."""

from __future__ import annotations

import re
import reprlib
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from numbers import Real
from pathlib import Path

from atlas_hf.folder.files import INDEX, TASK_FILES, AtlasFormatError, refuse_links
from atlas_hf.folder.ownership import Owned
from atlas_hf.folder.reading import brief, read_json
from atlas_hf.folder.records import check_types
from atlas_hf.tasks import check_task_name
from atlas_hf.version import __version__

FORMAT_VERSION = 1
DTYPES = ("float32", "float16", "bfloat16", "float64")


@dataclass(frozen=True)
class BaseModel:
    """Which backbone the adapters belong to; `sha256` is of its tensors in `dtype`."""

    id: str | None
    revision: str | None
    sha256: str
    dtype: str

    def check(self) -> None:
        """Names of the types and forms that we write; `AtlasFormatError` with the field that is not."""
        named = isinstance(self.revision, str) and re.fullmatch(r"(?!.*\.\.)\w[\w./-]*", self.revision)
        for name, right in (
            ("id", self.id is None or isinstance(self.id, str)),
            ("revision", self.revision is None or named),
            ("sha256", isinstance(self.sha256, str)),
        ):
            if not right:
                given = reprlib.repr(getattr(self, name))
                raise AtlasFormatError(f"{INDEX}: the backbone's {name} is {given}. Restore the file.")


@dataclass(frozen=True)
class TaskRecord:
    """One learned task: where it stands, what it reuses, and the digests that hold it to that.

    `experience` and `stage` are copies of the task's `adapter_config.json` (written and checked in
    `atlas_hf.model.storage`): what to download, and which tasks are learned, must be known from this file alone.
    """

    position: int
    experience: list[str]
    stage: str
    adapter_sha256: str
    files: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Index:
    """`atlas.json`. `tasks` is in the order of learning."""

    base_model: BaseModel
    tasks: dict[str, TaskRecord]
    versions: dict[str, str]
    format_version: int = FORMAT_VERSION

    def save(self, folder: Path) -> None:
        """Write `atlas.json`, whole or not at all."""
        Owned(folder).write_json(folder / INDEX, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Read and check `atlas.json`. Raises `AtlasFormatError` with the field that is wrong."""
        refuse_links(folder / INDEX, folder)
        values = read_json(folder / INDEX)
        if values.get("format_version") != FORMAT_VERSION:
            raise AtlasFormatError(
                f"{INDEX} has format_version {reprlib.repr(values.get('format_version'))}; this version of atlas_hf "
                f"reads {FORMAT_VERSION}. Update atlas_hf."
            )
        try:
            tasks = {check_task_name(name): TaskRecord(**record) for name, record in values["tasks"].items()}
            index = cls(BaseModel(**values["base_model"]), tasks, dict(values["versions"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise AtlasFormatError(f"{INDEX} is not what atlas_hf writes: {brief(error)}.") from error
        if index.base_model.dtype not in DTYPES:
            given, possible = reprlib.repr(index.base_model.dtype), ", ".join(DTYPES)
            raise AtlasFormatError(f"{INDEX}: the backbone's dtype {given} is unknown; possible are {possible}.")
        index.base_model.check()
        index._check_tasks()
        check_types(index, INDEX)
        return index

    def _check_tasks(self) -> None:
        seen: dict[str, None] = {}  # ordered, and quick to look up: a file may list many thousands
        for name, record in self.tasks.items():
            if not isinstance(record.files, dict) or set(record.files) != set(TASK_FILES):
                raise AtlasFormatError(f"{INDEX}: the files of task '{name}' are not {', '.join(TASK_FILES)}.")
            reuses = record.experience if isinstance(record.experience, list) else [None]
            if not all(isinstance(earlier, str) and earlier in seen for earlier in reuses):
                reused, known = reprlib.repr(record.experience), reprlib.repr(list(seen))
                raise AtlasFormatError(
                    f"{INDEX}: task '{name}' reuses {reused}, but only {known} were learned before it."
                )
            metrics = record.metrics.values() if isinstance(record.metrics, dict) else [None]
            if not all(isinstance(value, Real) and abs(value) < 1e300 for value in metrics):
                raise AtlasFormatError(
                    f"{INDEX}: of task '{name}', metrics is {reprlib.repr(record.metrics)}, not numbers by name."
                )
            seen[name] = None

    def closure(self, tasks: list[str] | None) -> list[str]:
        """The named tasks (None: all) and everything that they reuse, in the order of learning."""
        wanted = set(self.tasks) if tasks is None else set(tasks)
        unknown = sorted(wanted - set(self.tasks))
        if unknown:
            raise ValueError(f"There is no task {', '.join(map(repr, unknown))}; there are {list(self.tasks)}.")
        for name in reversed(self.tasks):
            if name in wanted:
                wanted.update(self.tasks[name].experience)
        return [name for name in self.tasks if name in wanted]


def library_versions() -> dict[str, str]:
    """The versions of this package and of the libraries that compute, by name."""
    return {"atlas_hf": __version__} | {name: version(name) for name in ("peft", "transformers", "torch")}
