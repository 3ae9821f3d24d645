"""The layout on disk and on the Hub: `atlas.json` and one folder per task. Knows files, not models.

atlas.json      format version, base model, tasks in order, library versions
results.json    accuracy matrix and what the card and the plots are drawn from
<task>/         adapter_config.json, adapter_model.safetensors, task.json
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from atlas_hf.tasks import check_task_name
from atlas_hf.version import __version__

FORMAT_VERSION = 1
INDEX, RESULTS = "atlas.json", "results.json"
WEIGHTS, CONFIG, SPEC = "adapter_model.safetensors", "adapter_config.json", "task.json"
TASK_FILES = (CONFIG, WEIGHTS, SPEC)
JSON_LIMIT = 16 * 2**20  # bytes; a larger file is not one that we wrote
DTYPES = ("float32", "float16", "bfloat16", "float64")
LIBRARIES = ("peft", "transformers", "torch")
# Backbones that come with the package, by the id that atlas.json names.
SHIPPED_BACKBONES = {"atlas-hf/digits-vilt": Path(__file__).parents[1] / "streams" / "digits" / "digits_vilt"}
_SCRATCH = ".partial"  # ends the names of what is being written
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


class AtlasFormatError(ValueError):
    """A folder is not, or no longer, what `save_pretrained` wrote."""


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
                raise AtlasFormatError(f"{INDEX}: the backbone's {name} is {getattr(self, name)!r}. Restore the file.")


@dataclass(frozen=True)
class TaskRecord:
    """One learned task: where it stands, what it reuses, and the digests that hold it to that."""

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
        write_json(folder / INDEX, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Read and check `atlas.json`. Raises `AtlasFormatError` with the field that is wrong."""
        values = read_json(folder / INDEX)
        if values.get("format_version") != FORMAT_VERSION:
            raise AtlasFormatError(
                f"{INDEX} has format_version {values.get('format_version')!r}; this version of atlas_hf reads "
                f"{FORMAT_VERSION}. Update atlas_hf."
            )
        try:
            tasks = {check_task_name(name): TaskRecord(**record) for name, record in values["tasks"].items()}
            index = cls(BaseModel(**values["base_model"]), tasks, dict(values["versions"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise AtlasFormatError(f"{INDEX} is not what atlas_hf writes: {error}.") from error
        if index.base_model.dtype not in DTYPES:
            given, possible = index.base_model.dtype, ", ".join(DTYPES)
            raise AtlasFormatError(f"{INDEX}: the backbone's dtype {given!r} is unknown; possible are {possible}.")
        index.base_model.check()
        index._check_tasks()
        return index

    def _check_tasks(self) -> None:
        seen: dict[str, None] = {}  # ordered, and quick to look up: a file may list many thousands
        for name, record in self.tasks.items():
            if not isinstance(record.files, dict) or set(record.files) != set(TASK_FILES):
                raise AtlasFormatError(f"{INDEX}: the files of task '{name}' are not {', '.join(TASK_FILES)}.")
            if not isinstance(record.experience, list) or not _all_known(record.experience, seen):
                raise AtlasFormatError(
                    f"{INDEX}: task '{name}' reuses {_short(record.experience)}, but only {_short(list(seen))} were "
                    "learned before it."
                )
            metrics = record.metrics.values() if isinstance(record.metrics, dict) else [None]
            if not all(isinstance(value, Real) and abs(value) < 1e300 for value in metrics):
                raise AtlasFormatError(
                    f"{INDEX}: of task '{name}', metrics is {record.metrics!r}, not numbers by name."
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


def _all_known(names: list[Any], known: Mapping[str, None]) -> bool:
    return all(isinstance(name, str) and name in known for name in names)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else text[:300] + "..."


def library_versions() -> dict[str, str]:
    return {"atlas_hf": __version__} | {name: version(name) for name in LIBRARIES}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, with an error that names the file."""
    if not path.is_file():  # a device or a pipe has no size and no end
        raise AtlasFormatError(f"There is no {path.name} in {path.parent}. Is this a folder of atlas_hf?")
    if (size := path.stat().st_size) > JSON_LIMIT:
        raise AtlasFormatError(f"{path} has {size:,} bytes; more than {JSON_LIMIT:,} are not read.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise AtlasFormatError(f"{path} is not JSON: {error}. Restore the file.") from error
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # not only JSONDecodeError: an integer of 5,000 digits
        raise AtlasFormatError(f"{path} is not JSON: {error}. Restore the file.") from error
    if not isinstance(values, dict):
        raise AtlasFormatError(f"{path} holds a {type(values).__name__}, not an object. Restore the file.")
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write at once or not at all: a reader never sees half a file."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, file or folder, when the block ends well.

    A folder that is there is not swapped, its files are: a task that is saved again is whole at every moment.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_SCRATCH, dir=path.parent))
    try:
        temporary = scratch / path.name
        yield temporary
        files = sorted(temporary.iterdir()) if temporary.is_dir() else []
        for file in [*files, temporary]:
            sync(file)
        if path.is_dir():
            for file in files:
                os.replace(file, path / file.name)
            for old in set(path.iterdir()) - {path / file.name for file in files}:
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        else:
            os.replace(temporary, path)
        sync(path.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk; only POSIX lets a folder be opened for that."""
    if os.name != "posix" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_scratch(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left behind."""
    for scratch in [*folder.glob(f".*{_SCRATCH}"), *folder.glob(f"*/.*{_SCRATCH}")]:
        shutil.rmtree(scratch)


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_task_folder(folder: Path, name: str, record: TaskRecord) -> None:
    """Every file of a task is there, is what was written, and its weights can be read."""
    task = folder / name
    pickles = sorted(p.name for p in task.glob("*") if p.suffix in _PICKLES) if task.is_dir() else []
    if pickles:
        raise AtlasFormatError(
            f"Task '{name}' has {', '.join(pickles)}: pickled weights can run code and are never read. "
            f"Only {WEIGHTS} is. Save the task again with atlas_hf."
        )
    for file, expected in record.files.items():
        if not (task / file).is_file():
            raise AtlasFormatError(f"Task '{name}' lacks {file}. Restore it from where the folder came from.")
        if file == WEIGHTS:
            check_safetensors(task / file)
        if (digest := file_sha256(task / file)) != expected:
            raise AtlasFormatError(
                f"{name}/{file} was altered: its sha256 is {digest[:12]}..., {INDEX} says {str(expected)[:12]}.... "
                "Restore the file; if it came from the Hub's cache, delete it there and load again."
            )


def load_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, if it holds these names, shapes and dtypes, nothing else, and finite numbers only.

    They lie in the file's mapping and begin at any address, while torch's allocator gives multiples of 64. On a CPU
    the last bit of a matrix product can depend on that, and so on whether a task was learned or loaded: copy them.
    """
    found = load_file(path)
    where = f"{path.parent.name}/{path.name}"
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        raise AtlasFormatError(f"{where} lacks {missing[:5]} and has unknown {unknown[:5]}. Restore the file.")
    for key, tensor in found.items():
        needed = expected[key]
        if (tensor.shape, tensor.dtype) != (needed.shape, needed.dtype):
            raise AtlasFormatError(
                f"{where}: {key} is {tuple(tensor.shape)} in {tensor.dtype}; it must be {tuple(needed.shape)} in "
                f"{needed.dtype}. Restore the file."
            )
        if not tensor.isfinite().all():
            raise AtlasFormatError(f"{where}: {key} holds NaN or infinite values. Restore the file.")
    return found


def check_safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="np") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise AtlasFormatError(
            f"{path.parent.name}/{path.name} is truncated or not a safetensors file ({error}). Restore the file."
        ) from error
