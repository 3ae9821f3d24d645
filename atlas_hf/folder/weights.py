"""A task's files as they were written: digests, and tensors by name, shape and type."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from atlas_hf.folder.files import INDEX, WEIGHTS, AtlasFormatError, file_sha256, refuse_links
from atlas_hf.folder.index import TaskRecord

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
        if file == WEIGHTS:
            try:
                with safe_open(task / file, framework="np") as tensors:
                    tensors.keys()
            except (SafetensorError, OSError) as error:
                raise AtlasFormatError(
                    f"{name}/{file} is truncated or not a safetensors file ({error}). Restore the file."
                ) from error
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


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor's values as bytes, of any dtype."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
