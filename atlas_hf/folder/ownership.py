"""Which files of a folder this package wrote: the one place that replaces and removes, and only those.

A list in the folder knows them (`file_list`). A new name is on the disk there before anything of that name is made, so
that what a killed process left is known. Of files that people edit, the list has digests of what we wrote.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from atlas_hf.folder.file_list import FileList, Names
from atlas_hf.folder.files import (
    CARD,
    CHECKPOINTS,
    HISTORY,
    ROOT_FILES,
    TASK_FILES,
    bring_to_disk,
    file_sha256,
    is_edited_by_people,
    json_text,
    kind,
    refuse_others,
    sync,
)


class EditedError(ValueError):
    """A file of ours that somebody edited, and that would have to be replaced."""


class Owned:
    """What this package wrote in a folder. Every path is one in the folder, as `folder / "vqa"`; none is followed by
    a link.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.list = FileList(self.folder)

    # What is ours -------------------------------------------------------------------------------------------------

    def owns(self, path: Path) -> bool:
        """Is it there, of the kind that we wrote, and ours, as are the folders that it is in?"""
        return self._owns(path, self.list.names())

    def edited(self, path: Path) -> bool:
        """Is it a file of ours that is no longer as we wrote it?"""
        return self._edited(path, self.list.names())

    def check(self, paths: Iterable[Path]) -> None:
        """Raise a `ValueError` that lists what is at these paths, or on the way to them, and is not ours."""
        found = list(paths)
        for _ in range(2):  # another run of ours may have made something since the list was read
            names = self.list.names() if found else {}
            found = [blocked for path in found if (blocked := self._blocked(path, names)) is not None]
        if self.list.is_anothers():
            found.append(self.list.home)
        refuse_others(found)

    def _owns(self, path: Path, names: Names) -> bool:
        return self._blocked(path, names) is None and kind(path) is not None

    def _edited(self, path: Path, names: Names) -> bool:
        digests = names.get(self._name(path, "file"), [])
        return bool(digests) and self._owns(path, names) and ("edited" in digests or file_sha256(path) not in digests)

    def _blocked(self, path: Path, names: Names) -> Path | None:
        """The first on the way from the folder to the path that is there and not ours."""
        place = self.folder
        parts = path.relative_to(self.folder).parts
        for number, part in enumerate(parts, start=1):
            place /= part
            there = kind(place)
            if there is None:
                return None
            if self._name(place, there) not in names or (there != "folder" and number < len(parts)):
                return place
        return None

    def _name(self, path: Path, there: str) -> str:
        """How the list names a path; what is neither file nor folder is never in it."""
        ends = {"file": "", "folder": "/"}
        return path.relative_to(self.folder).as_posix() + ends.get(there, "//")

    # Writing ------------------------------------------------------------------------------------------------------

    def write_json(self, path: Path, values: Mapping[str, Any]) -> None:
        """Write at once or not at all: a reader never sees half a file."""
        with self.replacing(path) as temporary:
            temporary.write_text(json_text(values), encoding="utf-8")

    @contextmanager
    def replacing(self, path: Path, as_edited: Sequence[str] = ()) -> Iterator[Path]:
        """A temporary path that takes the place of `path`, file or folder, when the block ends well.

        A folder that is there is not swapped, its files are: a task that is saved again is whole at every moment, and
        what others put there stays. `as_edited` names files in it that somebody edited before: they count as edited.

        Raises a `ValueError` if what is there is not ours, and an `EditedError` if others edited it, unless it is
        what takes its place.
        """
        self.check([path])
        self.list.begin()
        with self.list.scratch() as scratch:
            temporary = scratch / path.name
            yield temporary
            bring_to_disk(temporary)
            self._check_replaceable(path, temporary)
            if not temporary.is_dir():
                self._record(path.parents, {path: temporary})
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(path)
            else:
                self._put_folder(temporary, path, as_edited)
            sync(path.parent)

    def _check_replaceable(self, path: Path, by: Path) -> None:
        self.check([path])
        if self.edited(path) and file_sha256(path) != file_sha256(by):
            raise EditedError(
                f"{path} was edited since atlas_hf wrote it, so it stays as it is (or a version of atlas_hf wrote it "
                "that took no note of that). To have it written anew, move it elsewhere and do the same again."
            )

    def _put_folder(self, temporary: Path, path: Path, as_edited: Sequence[str]) -> None:
        files = {path / file.name: file for file in sorted(temporary.iterdir())}
        names = self.list.names()
        for place, file in files.items():
            self.check([place])
            digests = names.get(self._name(place, "file"))
            if digests and kind(place) == "file" and file_sha256(place) not in digests:
                self._check_replaceable(place, file)
        before = [place for place in (path.iterdir() if path.is_dir() else ()) if kind(place) == "file"]
        self._record([path, *path.parents], files, as_edited)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind(path) is None:
            temporary.replace(path)
            return
        for place, file in files.items():
            file.replace(place)
        for old in sorted(set(before) - set(files)):
            self.remove(old)

    def begin_folder(self, path: Path) -> None:
        """Know a folder that others' code makes for us, before it does. Raises a `ValueError` if it is there."""
        refuse_others([path] if kind(path) else [], remedy=". Move it elsewhere.")
        self.check([])
        self.list.begin()
        self._record([path, *path.parents], {})

    def make_folder(self, path: Path) -> None:
        """A folder of ours, which may be there already."""
        self.check([path])
        if kind(path) is None:
            self.list.begin()
            self._record([path, *path.parents], {})
            path.mkdir(parents=True, exist_ok=True)

    def take_in(self, paths: Iterable[Path]) -> None:
        """Know what others' code wrote for us; links and the like are left out."""
        found = {self._name(path, str(kind(path))) for path in paths if kind(path) in ("file", "folder")}
        with self.list.held():
            self.list.save(self.list.names() | {name: [] for name in found})

    def remove(self, path: Path) -> None:
        """Remove what is ours of a file or a folder: what others put there, or edited, stays.

        What is gone already, by a run that was killed while it removed, is forgotten.
        """
        own, names = path.relative_to(self.folder).as_posix(), self.list.names()
        ours = any(f"{name}/".startswith(f"{own}/") for name in names)
        if not ours or self._blocked(path, names) is not None:
            return
        self.list.begin()
        with self.list.held():
            names = self.list.names()
            inner = sorted((name for name in names if f"{name}/".startswith(f"{own}/")), reverse=True)
            for name in inner:
                self._remove_one(self.folder / name, names)
                if kind(self.folder / name) is None:
                    del names[name]
            if inner:
                self.list.save(names)

    def _remove_one(self, path: Path, names: Names) -> None:
        if not self._owns(path, names) or self._edited(path, names):
            return
        if kind(path) == "folder":
            with suppress(OSError):  # others' files are in it
                path.rmdir()
        else:
            path.unlink()

    def _record(self, folders: Iterable[Path], files: Mapping[Path, Path], as_edited: Sequence[str] = ()) -> None:
        """Know folders that are not there yet, and files, by place, of what is to lie there."""
        with self.list.held():
            names = self.list.names()
            new = {}
            for folder in folders:
                if folder != self.folder and folder.is_relative_to(self.folder) and kind(folder) is None:
                    new[self._name(folder, "folder")] = list[str]()
            for place, source in files.items():
                name = self._name(place, "file")
                new[name] = _digests(place, source, names.get(name, []))
                new[name] += ["edited"] if place.name in as_edited else []
            if any(names.get(name) != digests for name, digests in new.items()):
                self.list.save(names | new)


def _digests(place: Path, source: Path, known: Sequence[str]) -> list[str]:
    """Of a file that is about to take a place; for what people edit, also of the one that it replaces."""
    if not is_edited_by_people(place):
        return []
    new, old = file_sha256(source), file_sha256(place) if kind(place) == "file" else None
    return [*(digest for digest in known if digest == old != new), new]


def paths_of_a_run(folder: Path, tasks: Sequence[str]) -> list[Path]:
    """All that learning these tasks, in this order, writes into a folder."""
    names = [*ROOT_FILES, CHECKPOINTS, HISTORY]
    names += [f"{task}/{file}" for task in tasks for file in TASK_FILES]
    names += [f"{HISTORY}/{history_name(position, task)}" for position, task in enumerate(tasks, start=1)]
    return [folder / name for name in names]


def history_name(position: int, task: str) -> str:
    """Where in `.history` the state after a task is."""
    return f"{position:02d}-{task}"


def copy_tasks(folder: Path, target: Path) -> None:
    """Copy what is ours to a new folder, but for checkpoints, earlier states, and the card, which is of `folder`."""
    source, copy = Owned(folder), Owned(target)
    for name in source.list.names():
        path = folder / name
        if name.split("/")[0] in (CHECKPOINTS, HISTORY) or name == CARD or name.endswith("/") or not source.owns(path):
            continue
        with copy.replacing(target / name) as temporary:
            shutil.copyfile(path, temporary)
