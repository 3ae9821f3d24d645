"""How a task was before it was trained, so that a training that was interrupted can begin anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Beginning:
    """A task as it was: what it might reuse, its tensors, and whether it had been finished before (`relearn`)."""

    experience: tuple[str, ...]
    tensors: dict[str, Tensor]
    again: bool

    @classmethod
    def of(cls, model: Any, task: str, again: bool) -> Beginning:
        """A copy of what an `AtlasModel` holds of a task now."""
        tensors = {key: tensor.detach().clone() for key, tensor in model.base_model.task_tensors(task).items()}
        return cls(tuple(model.peft_config[task].experience), tensors, again)

    def put_back(self, model: Any, task: str) -> None:
        """Let the task be as it was. Raises a `ValueError` if it has lost its adapter meanwhile."""
        tuner = model.base_model
        tuner.reuse(task, {name: name for name in self.experience})
        now = tuner.task_tensors(task)
        if now.keys() != self.tensors.keys():
            raise ValueError(
                f"Task '{task}' was left half-trained, without its adapter. Remove it, model.delete_task('{task}'), "
                "and add it again."
            )
        with torch.no_grad():
            for key, tensor in now.items():
                tensor.copy_(self.tensors[key])
