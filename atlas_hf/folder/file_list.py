"""The list of what this package wrote in a folder, `.atlas_hf/files.json`, and the place of what is being written.

A folder of an older version has no list: its valid `atlas.json` and the marks in its checkpoints say what is ours.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from atlas_hf.folder.files import (
    HOME,
    AtlasFormatError,
    json_text,
    kind,
    refuse_links,
    refuse_others,
    scratch_in,
    sync,
)
from atlas_hf.folder.older import names_of_older
from atlas_hf.folder.reading import read_json

LIST = "files.json"
SCRATCH, LOCK, RUN = "scratch.", "lock", "run.lock"
_BEGINS = b'{\n  "written_by": "atlas_hf"'  # the text of every list
# By path in the folder, that of a folder with "/" at its end: the digests of a file that people edit, else nothing.
Names = dict[str, list[str]]


class FileList:
    """The list of a folder; `home` is where it lies. What reads and then saves it does so while `held`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / HOME
        self._path, self._next = self.home / LIST, self.home / f"{LIST}.new"
        self._lock = FileLock(self.home / LOCK)  # several may write one folder, such as the runs of a benchmark

    def names(self) -> Names:
        """What is ours, or may be: it was about to be made. Raises an `AtlasFormatError` for a damaged list."""
        if not self._is_there():
            return names_of_older(self.folder)
        refuse_links(self._path, self.folder)
        values = read_json(self._path)
        names = values.get("files")
        if values.get("written_by") != "atlas_hf" or not isinstance(names, dict):
            raise AtlasFormatError(f"{self._path} is no list of atlas_hf's files. Restore it, or use another folder.")
        return {name: [*map(str, found)] for name, found in names.items() if _is_plain(name) and _is_list(found)}

    def is_anothers(self) -> bool:
        """Is something in the place of the list that we did not put there?

        A process that was killed before its first list was whole left nothing, or the beginning of a list.
        """
        there = kind(self.home)
        if there is None:
            return False
        locks = [self.home / LOCK, self.home / RUN]
        written = [self._next, *locks]  # in whose place a link would lead out
        if there != "folder" or any(kind(path) not in (None, "file") for path in written):
            return True
        if self._is_there():
            return False
        if set(self.home.iterdir()) - set(written) or any(kind(lock) and lock.stat().st_size for lock in locks):
            return True
        text = self._next.read_bytes()[: len(_BEGINS)] if kind(self._next) else b""
        return not _BEGINS.startswith(text)

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other process changes the list. Raises a `ValueError` if something of others is in its place."""
        if self.is_anothers():
            refuse_others([self.home])
        with self._lock:
            yield

    @contextmanager
    def one_run(self) -> Iterator[None]:
        """No other run learns into the folder. Raises a `ValueError` while one does; a killed one does no longer."""
        self.begin()
        run = FileLock(self.home / RUN, timeout=0)
        try:
            run.acquire()
        except Timeout as error:
            raise ValueError(
                f"Another run learns into {self.folder} at this moment. Nothing was changed. Wait until it has ended, "
                "and run the same again, or give another folder."
            ) from error
        try:
            yield
        finally:
            run.release()

    def begin(self) -> None:
        """Make the list, if there is none yet."""
        if not self._is_there():
            with self.held():
                if not self._is_there():
                    self.save(names_of_older(self.folder))
            sync(self.folder)

    def save(self, names: Names) -> None:
        """To the disk, whole or not at all."""
        text = json_text({"written_by": "atlas_hf", "files": dict(sorted(names.items()))})
        self._next.write_text(text, encoding="utf-8")
        sync(self._next)
        self._next.replace(self._path)
        sync(self.home)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder for what is being written, on the disk of its place."""
        with scratch_in(self.home, SCRATCH) as folder:
            yield folder

    def clear_scratch(self) -> None:
        """Remove what a process that was killed while it wrote has left behind."""
        if self._is_there():
            for scratch in self.home.glob(f"{SCRATCH}*.partial"):
                if kind(scratch) == "folder":
                    shutil.rmtree(scratch)
            with self.held():  # else it may be what another process writes now
                self._next.unlink(missing_ok=True)

    def _is_there(self) -> bool:
        return kind(self.home) == "folder" and kind(self._path) is not None


def _is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    plain = path.parts and not path.is_absolute() and ".." not in path.parts and name.isprintable()
    return bool(plain) and name in (path.as_posix(), f"{path.as_posix()}/")


def _is_list(value: object) -> bool:
    return isinstance(value, list)
