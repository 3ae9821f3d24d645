"""The names of all files that this package writes, and how it reads and makes one: whole or not at all.

What is there already is replaced and removed by `ownership` alone.

atlas.json      format version, base model, tasks in order, library versions (`index`)
results.json    accuracy matrix and what the card and the plots are drawn from (`results`)
README.md       the model card, with its two pictures
<task>/         adapter_config.json, adapter_model.safetensors, task.json
.checkpoints/   of the task that is being learned
.history/       each finished state's small files, for its commit on the Hub
<task>.yaml     of a task of one's own: what it is, and where its data are
.atlas_hf/      what of all this is ours (`ownership`), and what is being written
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INDEX, RESULTS, CARD = "atlas.json", "results.json", "README.md"
MATRIX_PLOT, REUSE_PLOT = "accuracy_matrix.png", "reuse.png"
WEIGHTS, CONFIG, SPEC = "adapter_model.safetensors", "adapter_config.json", "task.json"
TASK_FILES = (CONFIG, WEIGHTS, SPEC)
CHECKPOINTS, HISTORY, HOME = ".checkpoints", ".history", ".atlas_hf"
MARK = "atlas_progress.json"  # in a checkpoint, written last: it is whole
START = "atlas_start.safetensors"  # in a checkpoint: what its stage trains, as it was before
ROOT_FILES = (INDEX, RESULTS, CARD, MATRIX_PLOT, REUSE_PLOT)
REPORT, SHORTCUTS, NEW_TASKS = "report.md", "shortcuts.json", "new_tasks.csv"
REPORT_FILES = (  # of a benchmark
    REPORT, "figures.csv", "paired_tests.csv", *(f"claim_{letter}.csv" for letter in "abcdefgh"), "low_shot.png",
    "accuracy_parameters.png", "accuracy_matrices.png", "representation.png", SHORTCUTS, NEW_TASKS,
)  # fmt: skip
_BEFORE_ANYTHING_CHANGED = (
    ", so it is not replaced, and nothing was changed. Give another folder (--output, output_dir), or move it "
    "elsewhere."
)


class AtlasFormatError(ValueError):
    """A folder is not, or no longer, what `save_pretrained` wrote."""


def refuse_links(path: Path, root: Path) -> None:
    """Raise an `AtlasFormatError` if `path`, below `root`, or a folder on the way to it is a link.

    Who wrote a folder could make us read, or push, any file of this machine by one. In the Hub's cache a snapshot's
    files are links into `blobs` of the same repository: those are followed.
    """
    place = root
    for part in path.relative_to(root).parts:
        place /= part
        if place.is_symlink() and not _of_the_cache(place, root):
            raise AtlasFormatError(
                f"{place} leads out of the folder, to {os.path.realpath(place)}: it is a link, which is neither read "
                "nor pushed. Put what it links to in its place"
            )


def _of_the_cache(link: Path, root: Path) -> bool:
    target = Path(os.path.realpath(link))  # which, unlike `resolve`, bears a link to itself
    blobs = [place.parent / "blobs" for place in root.resolve().parents if place.name == "snapshots"]
    return target.parent in blobs and target.is_file()


def kind(path: Path) -> str | None:
    """What is at a path, in a word; None if nothing. A link is a link, whatever it leads to."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode), "device or pipe")


def refuse_others(found: Sequence[Path], remedy: str = _BEFORE_ANYTHING_CHANGED) -> None:
    """Raise a `ValueError` that lists what was found in the way, if anything."""
    if found:
        listed = ", ".join(f"{path} (a {kind(path)})" for path in dict.fromkeys(found))
        raise ValueError(f"In the way: {listed}. atlas_hf did not write that{remedy}")


def is_edited_by_people(path: Path) -> bool:
    """Cards, and what a task of one's own is."""
    return path.name == CARD or path.suffix == ".yaml"


def json_text(values: Mapping[str, Any]) -> str:
    """A JSON file's text."""
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Make a JSON file where there is none, at once or not at all: a reader never sees half a file."""
    with creating(path) as temporary:
        temporary.write_text(json_text(values), encoding="utf-8")


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, file or folder, that becomes it when the block ends well.

    Raises a `FileExistsError` if something is there already.
    """
    _check_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_in(path.parent, f".{path.name}.") as scratch:
        temporary = scratch / path.name
        yield temporary
        bring_to_disk(temporary)
        _check_free(path)
        temporary.replace(path)
        sync(path.parent)


def _check_free(path: Path) -> None:
    if (there := kind(path)) is not None:
        raise FileExistsError(f"{path} is there already (a {there}) and is not overwritten. Move it, or name another.")


@contextmanager
def scratch_in(folder: Path, prefix: str) -> Iterator[Path]:
    """A new folder that is gone, with all that is in it, when the block ends."""
    scratch = Path(tempfile.mkdtemp(prefix=prefix, suffix=".partial", dir=folder))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def bring_to_disk(path: Path) -> None:
    """A file, or a folder with all that is in it."""
    for inner in [*(sorted(path.rglob("*"), reverse=True) if path.is_dir() else ()), path]:
        sync(inner)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk; only POSIX lets a folder be opened for that."""
    if os.name != "posix" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
