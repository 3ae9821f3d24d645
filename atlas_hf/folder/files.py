"""The names of all files that this package writes, and how it reads and writes one: whole or not at all.

atlas.json      format version, base model, tasks in order, library versions (`index`)
results.json    accuracy matrix and what the card and the plots are drawn from (`results`)
README.md       the model card, with its two pictures
<task>/         adapter_config.json, adapter_model.safetensors, task.json
.checkpoints/   of the task that is being learned
.history/       each finished state's small files, for its commit on the Hub
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INDEX, RESULTS, CARD = "atlas.json", "results.json", "README.md"
MATRIX_PLOT, REUSE_PLOT = "accuracy_matrix.png", "reuse.png"
WEIGHTS, CONFIG, SPEC = "adapter_model.safetensors", "adapter_config.json", "task.json"
TASK_FILES = (CONFIG, WEIGHTS, SPEC)
CHECKPOINTS, HISTORY = ".checkpoints", ".history"
_SCRATCH = ".partial"  # ends the names of what is being written


class AtlasFormatError(ValueError):
    """A folder is not, or no longer, what `save_pretrained` wrote."""


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
                file.replace(path / file.name)
            for old in set(path.iterdir()) - {path / file.name for file in files}:
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        else:
            temporary.replace(path)
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
    """The SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
