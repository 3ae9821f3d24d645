"""What of a folder belongs to which task's commit.

A task's own files stay as they are once it is finished. The shared ones (atlas.json, results.json, README.md, plots)
change with every task, so `snapshot` keeps them as they were, for a push that happens later.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from atlas_hf.folder import (
    CARD,
    HISTORY,
    INDEX,
    ROOT_FILES,
    TASK_FILES,
    AtlasFormatError,
    Index,
    Owned,
    TaskRecord,
    check_task_folder,
    history_name,
    kind,
    refuse_links,
)
from atlas_hf.hub.errors import FolderError

CARD_LIMIT = 2**20  # bytes; our cards have some ten thousand


@dataclass(frozen=True)
class Finished:
    """A finished task of atlas.json."""

    name: str
    record: TaskRecord

    @property
    def tag(self) -> str:
        """The tag of its commit: `task-01-<name>`, counted in the order of learning."""
        return f"task-{self.record.position:02d}-{self.name}"

    @property
    def push_id(self) -> str:
        """Digest of the task and its manifest. The shared files are left out: a card drawn anew is the same push."""
        content = {"task": self.name, "position": self.record.position, "files": self.record.files}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def paths(self) -> list[str]:
        """Its own files, as paths in the folder and in the repository."""
        return [f"{self.name}/{file}" for file in TASK_FILES]


def finished_tasks(folder: Path | str) -> list[Finished]:
    """The tasks of a saved folder up to the first that is not finished. Raises `AtlasFormatError`."""
    done = []
    for number, (name, record) in enumerate(Index.load(Path(folder)).tasks.items(), start=1):
        if record.position != number:
            raise AtlasFormatError(f"{INDEX}: task '{name}' is number {number}, not {record.position!r}.")
        if record.stage != "complete":
            break
        done.append(Finished(name, record))
    return done


def snapshot(folder: Path | str, task: str) -> Path:
    """Keeps the shared files (atlas.json, results.json, README.md, plots) as they are now, just after `task`.

    They become the root files of that task's commit, whenever it is pushed. Written to `.history/NN-<task>/`, which
    appears whole or not at all; called again, it replaces what was kept. Raises `FolderError` if `task` is not the
    last finished task.
    """
    folder = Path(folder)
    done = finished_tasks(folder)
    if not done or done[-1].name != task:
        raise FolderError(
            f"{task!r} is not the last finished task of {folder}; finished: {[one.name for one in done]}"
        )
    files, owned, place = _shared_files(folder, folder), Owned(folder), _kept(folder, done[-1])
    edited = [source.name for source in files if owned.edited(source)]
    with owned.replacing(place, edited) as kept:
        kept.mkdir()
        for source in files:
            shutil.copyfile(source, kept / source.name)
    return place


def commit_files(folder: Path, done: list[Finished]) -> dict[str, Path | bytes]:
    """Path in the repository to source, for the commit of the last task of `done`.

    Raises `AtlasFormatError`, and `FolderError` for what should not be published.
    """
    task = done[-1]
    check_task_folder(folder, task.name, task.record)
    files: dict[str, Path | bytes] = {path: folder / path for path in task.paths}
    if (card := _publishable(folder, folder / task.name / CARD)) is not None:
        files[f"{task.name}/{CARD}"] = card
    return files | _root_files(folder, done)


def _root_files(folder: Path, done: list[Finished]) -> dict[str, Path | bytes]:
    """The shared files after the last of `done`: kept by `snapshot`, the root's if still those, or atlas.json cut."""
    for place in (_kept(folder, done[-1]), folder):
        if _publishable(folder, place / INDEX) is not None and _push_ids(place) == [task.push_id for task in done]:
            return {path.name: path for path in _shared_files(folder, place)}
    index = replace(Index.load(folder), tasks={task.name: task.record for task in done})
    return {INDEX: json.dumps(asdict(index), indent=2).encode()}


def _push_ids(folder: Path) -> list[str]:
    return [Finished(name, record).push_id for name, record in Index.load(folder).tasks.items()]


def _kept(folder: Path, task: Finished) -> Path:
    return folder / HISTORY / history_name(task.record.position, task.name)


def _shared_files(folder: Path, place: Path) -> list[Path]:
    """Of the folder itself, or of a place in it where `snapshot` kept them: of our names, and written by us."""
    found = (_publishable(folder, place / name) for name in ROOT_FILES)
    return [path for path in found if path is not None]


def _publishable(folder: Path, path: Path) -> Path | None:
    """`path`, if it is there and ours, whether it was edited or not. Raises a `FolderError` for a link."""
    try:
        refuse_links(path, folder)
    except AtlasFormatError as error:
        raise FolderError(str(error)) from error
    if not path.is_file() or not (kind(path) == "link" or Owned(folder).owns(path)):  # a link: of the Hub's cache
        return None
    if path.name == CARD and (size := path.stat().st_size) > CARD_LIMIT:
        raise FolderError(f"{path} has {size:,} bytes; a card has at most {CARD_LIMIT:,}. Write it again")
    return path
