"""`AtlasTuner`: puts ATLAS into a model (PEFT's word for this class would be `AtlasModel`)."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, inspect_matched_modules
from peft.utils.integrations import init_empty_weights
from peft.utils.other import set_additional_trainable_modules
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from atlas_hf.fusion import orthogonality
from atlas_hf.tuner.backbones import TARGET_MODULES, attention_heads, backbone_of, check_encoder, name_all_linear
from atlas_hf.tuner.checks import check_deletable, check_experience, check_name, check_sites, comparable
from atlas_hf.tuner.config import BASE, AtlasConfig, trained_parts
from atlas_hf.tuner.heads import build_head
from atlas_hf.tuner.layer import AtlasLayer
from atlas_hf.tuner.mixing import mixed_copies, runs_of
from atlas_hf.tuner.parameters import slots
from atlas_hf.tuner.route import (
    ROUTE,
    Operands,
    Route,
    given_mask,
    route_checkpoints,
    routed,
    share_masks,
    unroute_checkpoints,
)

# What chooses the sites.
SITE_FIELDS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save")


class AtlasTuner(BaseTuner):
    """Adapters at every site (`sites`, by their path in the base model), and one head per task (`atlas_head`).

    Heads live here and not in the base model, because each has its own width; PEFT saves and loads them with the task.
    """

    prefix = "atlas_"
    tuner_layer_cls = AtlasLayer
    target_module_mapping = TARGET_MODULES  # type: ignore[assignment]  # PEFT takes a regex, too
    peft_config: dict[str, AtlasConfig]  # type: ignore[assignment]  # PEFT: of any config
    _unloaded = False

    def _pre_injection_hook(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> None:
        """PEFT calls this once, when the tuner is made (not for later adapters)."""
        check_encoder(model)
        self.atlas_head = nn.ModuleDict()
        # Looked up in every training step, where a walk through the modules of all tasks would take long. A model into
        # which adapters were injected before comes with some.
        self.sites = _sites_in(model)
        # What an earlier `get_peft_model` put into the model is no part of it: PEFT warns of that, and goes on.
        inside = (f".{self.prefix}", ".modules_to_save.")
        paths = [path for path, _ in model.named_parameters() if not any(part in path for part in inside)]
        self._base_parts = {part for path in paths for part in path.split(".")} | {"base_model", "model"}
        self._checkpointed = [module for module in model.modules() if hasattr(module, "gradient_checkpointing")]
        self._statistics = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self._hooks = share_masks(model, backbone_of(model))

    def train(self, mode: bool = True) -> AtlasTuner:
        """The backbone is frozen: so are the running statistics of its batch norms (ALIGN), and they are used."""
        super().train(mode)
        for module in self._statistics:
            module.eval()
        return self

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
        return slots(task, self.sites_of(task), self.atlas_head)

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Check everything that can be wrong with a new task, then add it: an error leaves the model as it was."""
        config = self.peft_config[adapter_name]
        check_name(adapter_name, self._base_parts.union(AtlasLayer.adapter_layer_names))
        name_all_linear(config, model, self.sites)
        self._prepare_adapter_config(config, self.get_model_config(model))
        state = kwargs.get("state_dict")
        twins = self._sites_of_twin(adapter_name, config) if state is None else None
        check_sites(self._targets(model, adapter_name, state) if twins is None else twins, config)
        digests = {task: self.reusable_sha256(task) for task in config.experience}
        check_experience(adapter_name, self.peft_config, digests)
        config.experience_sha256 |= digests
        with init_empty_weights() if kwargs.get("low_cpu_mem_usage") else nullcontext():
            head = None if config.head is None else build_head(**config.head)
            for site in twins.values() if twins else ():
                site.update_layer(adapter_name, config)
        if twins is None:
            with self._heads_as_they_are():
                super().inject_adapter(model, adapter_name, *args, **kwargs)
            self.sites = _sites_in(model)
        elif config.modules_to_save:
            active, known = adapter_name in self.active_adapters, self.get_model_config(model)
            set_additional_trainable_modules(model, config, known, adapter_name, activate_adapter=active)
        parameter = next(model.parameters(), None)
        if head is not None:
            place = None if parameter is None or kwargs.get("low_cpu_mem_usage") else parameter.device
            trains = adapter_name in self.active_adapters and not config.inference_mode
            head.requires_grad_(trains and self._head_trains(adapter_name))
            self.atlas_head[adapter_name] = head.to(place)
        for reused in config.experience:
            self._freeze(reused)
        if not config.inference_mode:
            self._warn_of_finished([adapter_name])

    def _freeze(self, task: str) -> None:
        for site in self.sites_of(task).values():
            site.let_train(task, False)
        if task in self.atlas_head:
            self.atlas_head[task].requires_grad_(False)

    @contextmanager
    def _heads_as_they_are(self) -> Iterator[None]:
        """PEFT's `inject_adapter` switches all adapters and back; of the heads, it does not know the way back."""
        heads = [(parameter, parameter.requires_grad) for parameter in self.atlas_head.parameters()]
        yield
        for parameter, trained in heads:
            parameter.requires_grad_(trained)

    def _prepare_adapter_config(  # type: ignore[override]  # PEFT gives a tuner its own configs
        self, peft_config: AtlasConfig, model_config: dict[str, Any]
    ) -> AtlasConfig:
        if peft_config.target_modules is None and model_config.get("model_type") not in TARGET_MODULES:
            raise ValueError(
                "Please specify `target_modules` in `peft_config`. There are no default sites for model_type "
                f"{model_config.get('model_type')!r}; known are {', '.join(TARGET_MODULES)}. Set "
                "AtlasConfig(target_modules=...) to the names of the attention output and MLP output projections."
            )
        if peft_config.num_heads is None:
            peft_config.num_heads = attention_heads(model_config)
        super()._prepare_adapter_config(peft_config, model_config)
        return peft_config

    def _targets(self, model: nn.Module, name: str, state: Mapping[str, Tensor] | None) -> dict[str, nn.Module]:
        """What the patterns of a task match, or the modules whose adapters are in a state dict, as in PEFT.

        A regex can match a site's own parts, which PEFT passes over too.
        """
        inside = tuple(f"{path}." for path in self.sites)
        if state is not None:
            named = {key.rsplit(f".{self.prefix}", 1)[0] for key in state}
            return {path: module for path, module in model.named_modules() if path in named}
        matched = inspect_matched_modules(self, name)["matched"]
        return {path: model.get_submodule(path) for path in matched if not path.startswith(inside)}

    def _create_and_replace(  # type: ignore[override]  # as every tuner's
        self,
        config: AtlasConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
    ) -> None:
        if isinstance(target, AtlasLayer):
            target.update_layer(adapter_name, config)
        else:
            new_module = AtlasLayer(target, adapter_name, config)
            if adapter_name not in self.active_adapters:
                new_module.requires_grad_(False)
            self._replace_module(parent, target_name, new_module, target)
            self.sites[current_key] = new_module  # it follows the next `set_adapter`

    # What PEFT does by walks through all modules, more with every task, done at the sites. At 256 tasks and 24 sites,
    # on one core beside other work, adding a task takes 11 ms and choosing one 27 ms; with PEFT's `set_adapter` 24 and
    # 84, with its `_cast_adapter_dtype` 58 and 25, with its search for the sites of every task 744 and 28.

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """As PEFT's, at the sites; by PEFT's walk only where adapters train other modules too."""
        names = [adapter_name] if isinstance(adapter_name, str) else adapter_name
        unknown = [name for name in names if name not in self.peft_config]
        if unknown:
            raise ValueError(f"Adapter {', '.join(unknown)} not found. There are {', '.join(self.peft_config)}.")
        if any(config.modules_to_save for config in self.peft_config.values()):
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

    def _sites_of_twin(self, name: str, config: AtlasConfig) -> dict[str, AtlasLayer] | None:
        """The sites of another task that chooses its sites by the same patterns; None if there is none.

        None too while the sites follow another tuner, made for the same model before: PEFT makes them follow this one.
        """
        if any(site.active_adapters != self.active_adapters for site in self.sites.values()):
            return None
        mine = [comparable(getattr(config, field)) for field in SITE_FIELDS]
        for task, other in self.peft_config.items():
            if task != name and mine == [comparable(getattr(other, field)) for field in SITE_FIELDS]:
                return self.sites_of(task)
        return None

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

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete a task that no other reuses."""
        check_deletable(adapter_name, self.peft_config)
        super().delete_adapter(adapter_name)
        if adapter_name in self.atlas_head:
            del self.atlas_head[adapter_name]

    def unload(self) -> nn.Module:
        """The bare backbone, with nothing of ours left on it but that it is frozen. The tuner is of no use then."""
        model = super().unload()
        self._unloaded = True
        for hook in self._hooks:
            hook.remove()
        unroute_checkpoints(self._checkpointed)
        vars(model).pop("peft_config", None)  # PEFT leaves it, and warns when the model is wrapped again
        return model

    def check_loaded(self) -> None:
        """Raise a `ValueError` after `unload`: what is asked or saved then would be the backbone's alone."""
        if self._unloaded:
            raise ValueError(
                "unload() took the adapters off this model, which can neither be asked nor saved now. Load the tasks "
                "again, or call unload() on a copy (copy.deepcopy)."
            )

    def drop_experience(self, task: str, names: Sequence[str]) -> None:
        """Take tasks out of a task's experience, with the queries over them."""
        config = self.peft_config[task]
        kept = [place for place, name in enumerate(config.experience) if name not in names]
        for site in self.sites_of(task).values():
            site.keep_experience(task, kept)
        config.experience = [config.experience[place] for place in kept]
        config.experience_sha256 = {name: config.experience_sha256[name] for name in config.experience}

    def reusable_sha256(self, task: str) -> str:
        """Digest of what later tasks reuse of a task: its adapters and keys at all sites, as float32."""
        digest = hashlib.sha256()
        for path, site in self.sites_of(task).items():
            digest.update(path.encode())
            for tensor in site.reusable(task):
                digest.update(repr(tuple(tensor.shape)).encode())
                digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def orthogonality(self, task: str) -> Tensor:
        """The penalty of `task`, summed over its sites. A scalar. Sites of one width are computed together."""
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for site in self.sites_of(task).values():
            for rows in site.penalized(task):
                by_shape.setdefault(rows.shape, []).append(rows)
        return torch.stack([orthogonality(torch.stack(rows)).sum() for rows in by_shape.values()]).sum()

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """PEFT enters this around every forward call: tell the sites which tokens are padding."""
        self.check_loaded()
        names = kwargs.pop("adapter_names", None)
        runs = {} if names is None else {"runs": self._runs(names, (*args, *kwargs.values()))}
        mask = given_mask(self.model, args, kwargs)
        if self.model.training:
            route_checkpoints(self._checkpointed)
        compiled = self.model._compiled_call_impl is not None and names is None  # noqa: SLF001
        operands = self._operands() if compiled else None
        with routed(padding=mask, mask=mask, operands=operands, **runs), mixed_copies(self.model, names):
            yield

    def _runs(self, names: Sequence[str], inputs: Sequence[Any]) -> tuple[tuple[str, int], ...]:
        if self.training:
            raise ValueError(
                "Cannot pass `adapter_names` when the model is in training mode. Call `eval()`, or train one adapter "
                "at a time."
            )
        return runs_of(names, [*self.peft_config, BASE], inputs)

    def _operands(self) -> dict[AtlasLayer, Operands] | None:
        """Of the task to be computed, for a compiled backbone; None if there is no single one."""
        route = ROUTE.get() or Route()
        tasks = self.active_adapters if route.task is None else [route.task]
        if route.runs is not None or len(tasks) != 1:
            return None
        return {site: site.operands(tasks[0]) for site in self.sites.values() if tasks[0] in site.atlas_config}

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """A head is a module of several layers, so the name stands in the middle of its keys."""
        if f"atlas_head.{adapter_name}." in key:
            return key.replace(f"atlas_head.{adapter_name}.", "atlas_head.", 1)
        return super()._remove_adapter_name_from_key(key, adapter_name)


def _sites_in(model: nn.Module) -> dict[str, AtlasLayer]:
    return {path: module for path, module in model.named_modules() if isinstance(module, AtlasLayer)}
