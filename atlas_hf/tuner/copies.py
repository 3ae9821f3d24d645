"""Copies of other modules, one per task (`modules_to_save`): what is finished stays finished there, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from peft.utils import ModulesToSaveWrapper
from torch import nn

from atlas_hf.tuner.config import AtlasConfig, trained_parts


class TaskCopies(ModulesToSaveWrapper):
    """PEFT's copies of a module, of which those of finished and of reused tasks stay frozen, whoever asks.

    PEFT lets a copy train without asking the tuner, and for a classifier once more after the tuner was made; so the
    copies themselves have the last word.
    """

    task_configs: Mapping[str, AtlasConfig]  # the tuner's own, so it knows at once who is finished, reused or deleted

    def update(self, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """As PEFT's."""
        super().update(adapter_name, *args, **kwargs)
        self.freeze_finished()

    def enable_adapters(self, enabled: bool) -> None:
        """As PEFT's."""
        super().enable_adapters(enabled)
        self.freeze_finished()

    def set_adapter(self, adapter_names: str | list[str], inference_mode: bool = False) -> None:
        """As PEFT's."""
        super().set_adapter(adapter_names, inference_mode)
        self.freeze_finished()

    def set_requires_grad(self, *args: Any, **kwargs: Any) -> None:
        """As PEFT's."""
        super().set_requires_grad(*args, **kwargs)
        self.freeze_finished()

    def freeze_finished(self) -> None:
        """Freeze the copies of tasks of which nothing trains."""
        for task, copy in self.modules_to_save.items():
            if task in self.task_configs and not trained_parts(task, self.task_configs):
                for parameter in copy.parameters():
                    if parameter.is_leaf:
                        parameter.requires_grad_(False)


TaskCopies.__name__ = ModulesToSaveWrapper.__name__  # PEFT shows it in errors and in `get_layer_status`


def keep_finished_copies(model: nn.Module, configs: Mapping[str, AtlasConfig]) -> None:
    """Make the wrappers that PEFT has put into a model ours: it takes no class of ours where it makes them."""
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            module.__class__ = TaskCopies
            copies = cast(TaskCopies, module)
            vars(copies)["task_configs"] = configs
            copies.freeze_finished()
