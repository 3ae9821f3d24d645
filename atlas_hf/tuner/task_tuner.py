"""`TaskTuner`: what each task owns in a model, at all sites and as its head, and what of it trains."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence

import torch
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn

from atlas_hf.fusion import orthogonality
from atlas_hf.tuner.checks import check_deletable
from atlas_hf.tuner.config import AtlasConfig, trained_parts
from atlas_hf.tuner.layer import AtlasLayer


class TaskTuner(BaseTuner):
    """The tasks of a tuner, by name. See `AtlasTuner`, which makes `sites` and `atlas_head`."""

    prefix = "atlas_"
    tuner_layer_cls = AtlasLayer
    peft_config: dict[str, AtlasConfig]  # type: ignore[assignment]  # PEFT: of any config
    sites: dict[str, AtlasLayer]
    atlas_head: nn.ModuleDict

    def sites_of(self, task: str) -> dict[str, AtlasLayer]:
        """The sites at which a task has an adapter."""
        return {path: site for path, site in self.sites.items() if task in site.atlas_config}

    def task_tensors(self, task: str) -> dict[str, Tensor]:
        """All parameters of a task, by the keys that PEFT gives them in the task's file."""
        return {key: getattr(owner, name) for key, (owner, name) in self._slots(task).items()}

    def assign(self, task: str, tensors: Mapping[str, Tensor]) -> None:
        """Give a task's parameters these values, copied, also where they are on the meta device (no memory yet)."""
        for key, (owner, name) in self._slots(task).items():
            value = tensors[key].clone(memory_format=torch.contiguous_format)
            setattr(owner, name, nn.Parameter(value, getattr(owner, name).requires_grad))
        for site in self.sites_of(task).values():
            site.move_to_base_layer(task)

    def _slots(self, task: str) -> dict[str, tuple[nn.Module, str]]:
        """By key, the modules that own the parameters and their names there."""
        found: dict[str, tuple[nn.Module, str]] = {}
        for path, site in self.sites_of(task).items():
            for part in site.adapter_layer_names:
                owner, key = getattr(site, part), f"base_model.model.{path}.{part}"
                if task in owner:
                    found |= _inside(key, owner[task]) if isinstance(owner, nn.ModuleDict) else {key: (owner, task)}
        return found | (_inside("base_model.atlas_head", self.atlas_head[task]) if task in self.atlas_head else {})

    def drop_experience(self, task: str, names: Sequence[str]) -> None:
        """Take tasks out of a task's experience, with the queries over them."""
        self.keep_experience(task, [name for name in self.peft_config[task].experience if name not in names])

    def keep_experience(self, task: str, names: Sequence[str]) -> None:
        """Leave only these of a task's experience, in this order, with the queries over them."""
        config = self.peft_config[task]
        if names == config.experience:
            return
        places = [config.experience.index(name) for name in names]
        for site in self.sites_of(task).values():
            site.keep_experience(task, places)
        config.experience = list(names)
        config.experience_sha256 = {name: config.experience_sha256[name] for name in names}

    def begin_at(self, task: str, sources: Sequence[str]) -> None:
        """Let a task reuse what these others are made of, with their own queries: of several, with the first's."""
        self.reuse(task, self.origins(sources))

    def reuse(self, task: str, origins: Mapping[str, str]) -> None:
        """Let a task reuse these others, each with the query over it of the task that is named beside it."""
        config = self.peft_config[task]
        for site in self.sites_of(task).values():
            site.packs.clear()
            site.set_experience(task, [site.query_over(source, name) for name, source in origins.items()])
        config.experience = list(origins)
        config.experience_sha256 = {name: self.reusable_sha256(name) for name in origins}

    def origins(self, sources: Sequence[str]) -> dict[str, str]:
        """The adapters that these tasks are made of, in the order of learning, and which of them has each first."""
        found = {member: source for source in reversed(sources) for member in self.members(source)}
        return {name: found[name] for name in self.peft_config if name in found}

    def members(self, task: str) -> list[str]:
        """The tasks whose adapters a task adds up: its experience, then itself if its own adapter takes part."""
        return next(iter(self.sites_of(task).values())).members(task)

    def drop_adapter(self, task: str) -> None:
        """Let a task go without an adapter, key and query of its own."""
        for site in self.sites_of(task).values():
            site.packs.clear()
            site.drop_adapter(task)
        self.peft_config[task].own_adapter = False

    def reusable_sha256(self, task: str) -> str:
        """Digest of what later tasks reuse of a task, as float32: its adapters and keys at all sites.

        Of a task without an adapter of its own, of all that it is: two such tasks are not the same.
        """
        tensors = {path: site.reusable(task) for path, site in self.sites_of(task).items()}
        if not any(tensors.values()):
            tensors = {key: (tensor,) for key, tensor in self.task_tensors(task).items()}
        digest = hashlib.sha256()
        for path, found in tensors.items():
            digest.update(path.encode())
            for tensor in found:
                digest.update(repr(tuple(tensor.shape)).encode())
                digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def orthogonality(self, task: str) -> Tensor:
        """The penalty of `task`, summed over its sites. A scalar. Sites of one width are computed together.

        0 of a task that adds up no adapters.
        """
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for site in self.sites_of(task).values():
            for rows in site.penalized(task):
                by_shape.setdefault(rows.shape, []).append(rows)
        penalties = [orthogonality(torch.stack(rows)).sum() for rows in by_shape.values()]
        return torch.stack(penalties).sum() if penalties else torch.zeros(())

    @property
    def _has_copies(self) -> bool:
        return any(config.modules_to_save for config in self.peft_config.values())

    # What PEFT does by walks through all modules, more with every task, done at the sites. At 256 tasks and 24 sites,
    # on one core beside other work, adding a task takes 11 ms and choosing one 27 ms; with PEFT's `set_adapter` 24 and
    # 84, with its `_cast_adapter_dtype` 58 and 25, with its search for the sites of every task 744 and 28.

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """As PEFT's, at the sites; by PEFT's walk only where adapters train other modules too."""
        names = [adapter_name] if isinstance(adapter_name, str) else adapter_name
        unknown = [name for name in names if name not in self.peft_config]
        if unknown:
            raise ValueError(f"Adapter {', '.join(unknown)} not found. There are {', '.join(self.peft_config)}.")
        if self._has_copies:
            super().set_adapter(adapter_name, inference_mode)
        else:
            for site in self.sites.values():
                site.set_adapter(adapter_name, inference_mode=inference_mode)
        self.active_adapter = adapter_name
        self._train_heads(names, not inference_mode)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """As PEFT's, but what is frozen stays so."""
        for site in self.sites_of(adapter_name).values() if autocast_adapter_dtype else ():
            if any(tensor.dtype.itemsize < 4 for tensor in site.tensors(adapter_name)):
                site.cast(adapter_name, torch.float32)

    def set_requires_grad(self, adapter_names: str | Sequence[str], requires_grad: bool = True) -> None:
        """As PEFT's, with the heads. What is finished stays frozen, with a warning."""
        names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        if requires_grad:
            self._warn_of_finished(names)
        super().set_requires_grad(adapter_names, requires_grad)
        for name in set(names) & set(self.atlas_head):
            self.atlas_head[name].requires_grad_(requires_grad and self._head_trains(name))

    def _train_heads(self, active: list[str], trainable: bool) -> None:
        for name, head in self.atlas_head.items():
            head.requires_grad_(trainable and name in active and self._head_trains(name))

    def _head_trains(self, task: str) -> bool:
        return "atlas_head" in trained_parts(task, self.peft_config)

    def _warn_of_finished(self, names: Iterable[str]) -> None:
        """What PEFT asks for together with loading or adding: an error in between would leave half an adapter."""
        finished = [name for name in names if name in self.peft_config and not trained_parts(name, self.peft_config)]
        if finished:
            warnings.warn(
                f"{finished} stay frozen, although asked to train: finished (stage 'complete'), or reused by other "
                "tasks. To learn a finished one again, use AtlasModel.set_stage(task, stage, relearn=True), or load "
                "it with a config whose stage is 'expansion'.",
                stacklevel=3,
            )

    def _freeze(self, task: str) -> None:
        for site in self.sites_of(task).values():
            site.let_train(task, False)
        if task in self.atlas_head:
            self.atlas_head[task].requires_grad_(False)

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete a task that no other reuses."""
        check_deletable(adapter_name, self.peft_config)
        super().delete_adapter(adapter_name)
        if adapter_name in self.atlas_head:
            del self.atlas_head[adapter_name]

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """A head is a module of several layers, so the name stands in the middle of its keys."""
        if f"atlas_head.{adapter_name}." in key:
            return key.replace(f"atlas_head.{adapter_name}.", "atlas_head.", 1)
        return super()._remove_adapter_name_from_key(key, adapter_name)


def _inside(key: str, module: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    return {
        ".".join(filter(None, (key, path, name))): (owner, name)
        for path, owner in module.named_modules()
        for name, _ in owner.named_parameters(recurse=False)
    }
