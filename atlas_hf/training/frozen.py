"""A stage trains its own parts of its task, and nothing else: checked before it, and proven after it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from atlas_hf.folder import tensor_bytes
from atlas_hf.tuner import PARTS, STAGES, part_and_task

_ROW = 4096  # words whose sum is one number of a digest


@contextmanager
def changing_only(model: nn.Module, task: str, stage: str) -> Iterator[None]:
    """What does not train in this stage has the same bits after the block as before it.

    Raises:
        RuntimeError: something else would train, or has changed; it is named.
    """
    check_trained(model, task, stage)
    before = _digests(model)
    yield
    moved = [name for name, digest in _digests(model).items() if digest != before.get(name)]
    if moved:
        raise RuntimeError(f"Stage '{stage}' of task '{task}' changed what it must not train: {moved[:5]}.")


def check_trained(model: nn.Module, task: str, stage: str) -> None:
    """Nothing is trainable but the parts of the task that `STAGES` names for the stage.

    Raises:
        RuntimeError: with the names of what else would train.
    """
    wanted = STAGES[stage].trained
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    stray = [name for name in trainable if part_and_task(name) not in {(part, task) for part in wanted}]
    if stray:
        raise RuntimeError(
            f"Stage '{stage}' of task '{task}' would train {stray[:5]}, which it must not: only "
            f"{', '.join(PARTS[part].title for part in wanted)} of '{task}'. Freeze it: "
            "parameter.requires_grad_(False)."
        )


def _digests(model: nn.Module) -> dict[str, bytes]:
    """Of every tensor that does not train, buffers included."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: digest(tensor) for name, tensor in model.state_dict().items() if name not in trained}


def digest(tensor: Tensor) -> bytes:
    """Of a tensor's bits, taken where the tensor lies: a backbone is read at the speed of its memory, and not copied.

    The bits are read as words of 64, in rows of 4096, and added up modulo 2^64 by row and by column; only the sums are
    hashed. What changes words and none of these sums has to even out in every row and every column at once. (Nobody
    is to be kept from making two tensors of one digest: what is looked for is an accident.)
    """
    data = tensor.detach().contiguous().flatten()
    if data.storage_offset() * data.element_size() % 8:
        data = data.clone()  # cannot be read as words where it lies
    data = data.view(torch.uint8)
    whole = len(data) - len(data) % (8 * _ROW)
    words = data[:whole].view(torch.int64).view(-1, _ROW)
    found = hashlib.blake2b(digest_size=16)
    for part in (words.sum(0), words.sum(1), data[whole:]):
        found.update(tensor_bytes(part))
    return found.digest()
