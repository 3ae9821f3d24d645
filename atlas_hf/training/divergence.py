"""A loss that is NaN or infinite ends a stage, with a word on what can be gone back to."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from atlas_hf.folder import WEIGHTS
from atlas_hf.training.checkpoints import newest_first


def check_loss(loss: Tensor, task: str, stage: str, step: int, checkpoints: Path) -> None:
    """Raise an error that names the last good checkpoint, unless the loss is a finite number.

    Args:
        loss: a scalar.
        step: the optimizer step that the loss belongs to, counted from 1 in each stage.
        checkpoints: the folder of this stage's checkpoints.

    Raises:
        FloatingPointError: the loss is NaN or infinite.
    """
    if loss.isfinite():
        return
    good = last_good_checkpoint(checkpoints, task)
    back = f"The last good checkpoint is {good}." if good else "This stage has no good checkpoint yet."
    raise FloatingPointError(
        f"Task '{task}', stage '{stage}', step {step}: the loss is {loss.item()}. {back} Look for such values in the "
        "data, or lower the learning rate (learning_rate, query_lr_multiplier), and train the task again."
    )


def last_good_checkpoint(checkpoints: Path, task: str) -> Path | None:
    """The latest one whose weights can be read and are all finite; None if there is none."""
    for folder in newest_first(checkpoints):
        try:
            if all(tensor.isfinite().all() for tensor in load_file(folder / task / WEIGHTS).values()):
                return folder
        except (OSError, SafetensorError):
            continue
    return None
