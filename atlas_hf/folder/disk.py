"""A folder that has to be written to: tried before anything is learned, and in words where it fails."""

import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from safetensors import SafetensorError

from atlas_hf.folder.files import CHECKPOINTS
from atlas_hf.folder.ownership import Owned, paths_of_a_run

_FULL = 2**20  # bytes; with less left on the disk, a failed write is put down to that
_PROBE = 2**14  # bytes that must go into the folder before anything is begun
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG)


def check_free(folder: Path, tasks: Sequence[str]) -> None:
    """Raise a `ValueError` that lists what is in the way of learning these tasks, in this order, and is not ours."""
    with saying_that_nothing_was_learned(folder):
        if folder.is_dir():
            Owned(folder).check(paths_of_a_run(folder, tasks))


@contextmanager
def prepared(folder: Path) -> Iterator[None]:
    """Make the folder, and remove what a killed process left half written. To be done by one process of a run alone.

    Until the block ends, no other run learns into the folder: the index of the one would lack the tasks of the other.
    Raises an `OSError` if nothing can be written there, and a `ValueError` while another run is under way.
    """
    owned = Owned(folder)
    with ExitStack() as running:
        with saying_that_nothing_was_learned(folder):
            folder.mkdir(parents=True, exist_ok=True)
            running.enter_context(owned.list.one_run())
            owned.list.clear_scratch()
            owned.make_folder(folder / CHECKPOINTS)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(_PROBE))
        yield


@contextmanager
def saying_that_nothing_was_learned(folder: Path) -> Iterator[None]:
    """Errors of the operating system before the first task, with the folder and what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{folder} cannot be written ({error.strerror}). Nothing was learned, and what it holds can still be "
            "loaded. Free space, allow writing, or give another folder."
        ) from error


@contextmanager
def saying_what_is_safe(folder: Path, what: str, done: Sequence[str]) -> Iterator[None]:
    """Errors of the disk and of diverged training while `what` is written, with what is kept and how to go on.

    `done` are the tasks that are in the folder already. Raises a `FloatingPointError` or `OSError` in place of the
    error in the block.
    """
    kept = f"The finished tasks {list(done)} are in {folder} and can be loaded." if done else "No task was finished."
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"{error} {kept}") from error
    except (OSError, SafetensorError, RuntimeError) as error:
        if (reason := _of_the_disk(error, folder)) is None:
            raise
        raise OSError(
            f"{what} could not be written to {folder}: {reason}. {kept} Free space or allow writing, and run the same "
            "again: it goes on from there."
        ) from error


def _of_the_disk(error: Exception, folder: Path) -> str | None:
    """What is wrong with the disk, if that is why a write failed."""
    if isinstance(error, OSError):
        return error.strerror if error.errno in _DISK_ERRORS else None
    full = shutil.disk_usage(folder).free < _FULL  # torch and safetensors have errors of their own
    return "No space left on device" if full else None
