"""A task's files as they were written: digests, and tensors by name, shape and type."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from atlas_hf.folder.files import INDEX, WEIGHTS, AtlasFormatError, file_sha256, refuse_links
from atlas_hf.folder.index import TaskRecord
from atlas_hf.folder.reading import HEADER, Limit, brief, check_bytes, check_size, check_structure, read_bytes

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def check_task_folder(folder: Path, name: str, record: TaskRecord) -> None:
    """Every file of a task is there, is what was written, and its weights can be read."""
    task = folder / name
    refuse_links(task, folder)
    pickles = sorted(p.name for p in task.glob("*") if p.suffix in _PICKLES) if task.is_dir() else []
    if pickles:
        raise AtlasFormatError(
            f"Task '{name}' has {', '.join(pickles)}: pickled weights can run code and are never read. "
            f"Only {WEIGHTS} is. Save the task again with atlas_hf."
        )
    for file, expected in record.files.items():
        refuse_links(task / file, folder)
        if not (task / file).is_file():
            raise AtlasFormatError(f"Task '{name}' lacks {file}. Restore it from where the folder came from.")
        check_size(task / file)  # before all of it is read for its digest
        if file == WEIGHTS:
            check_header(task / file)
        if (digest := file_sha256(task / file)) != expected:
            raise AtlasFormatError(
                f"{name}/{file} was altered: its sha256 is {digest[:12]}..., {INDEX} says {str(expected)[:12]}.... "
                "Restore the file; if it came from the Hub's cache, delete it there and load again."
            )


def check_header(path: Path, limit: Limit = HEADER, size: int | None = None) -> None:
    """A safetensors file has a header within the limit, that fits its size. Reads no tensor.

    Args:
        size: in bytes, the most that the file may have; by default what its name allows.

    Raises:
        AtlasFormatError: if it has not.
    """
    try:
        size = check_size(path, size)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length <= size - 8:  # else safetensors says so
                check_bytes(f"The header of {path}", length, limit.bytes)
                check_structure(f"The header of {path}", file.read(length), limit)
        with safe_open(path, framework="np") as tensors:
            tensors.keys()
    except (SafetensorError, OSError) as error:
        raise _not_whole(path, error) from error


def _not_whole(path: Path, error: Exception) -> AtlasFormatError:
    where = f"{path.parent.name}/{path.name}"
    return AtlasFormatError(f"{where} is truncated or not a safetensors file ({brief(error)}). Restore the file.")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, in memory of their own. Raises `AtlasFormatError` if it is damaged."""
    check_header(path)
    return _tensors(path, read_bytes(path))


def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return load(content)
    except SafetensorError as error:
        raise _not_whole(path, error) from error


def load_tensors(path: Path, expected: Mapping[str, Tensor], sha256: str) -> dict[str, Tensor]:
    """The tensors of a file, if it holds these names, shapes and dtypes, nothing else, and finite numbers only.

    They begin at any address, while torch's allocator gives multiples of 64. On a CPU the last bit of a matrix product
    can depend on that, and so on whether a task was learned or loaded: copy them.

    Args:
        sha256: of the file that was checked: read at once and not mapped, it cannot change or shrink on the way.
    """
    room = 2 * sum(tensor.nbytes for tensor in expected.values())
    content = read_bytes(path, room + HEADER.bytes)
    where = f"{path.parent.name}/{path.name}"
    if hashlib.sha256(content).hexdigest() != sha256:
        raise AtlasFormatError(f"{where} changed while it was read. Load again when nothing else writes to it.")
    found = _tensors(path, content)
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        raise AtlasFormatError(f"{where} lacks {missing[:5]} and has unknown {unknown[:5]}. Restore the file.")
    for key, tensor in sorted(found.items()):
        needed = expected[key]
        if (tensor.shape, tensor.dtype) != (needed.shape, needed.dtype):
            raise AtlasFormatError(
                f"{where}: {key} is {tuple(tensor.shape)} in {tensor.dtype}; it must be {tuple(needed.shape)} in "
                f"{needed.dtype}. Restore the file."
            )
        if not tensor.isfinite().all():
            raise AtlasFormatError(f"{where}: {key} holds NaN or infinite values. Restore the file.")
    return found


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor's values as bytes, of any dtype."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
