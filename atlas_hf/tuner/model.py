"""`AtlasTuner`: puts ATLAS into a model (PEFT's word for this class would be `AtlasModel`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from peft import PeftConfig
from peft.tuners.tuners_utils import inspect_matched_modules
from peft.utils.integrations import init_empty_weights
from peft.utils.other import set_additional_trainable_modules
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from atlas_hf.tuner.backbones import TARGET_MODULES, attention_heads, backbone_of, check_encoder, name_all_linear
from atlas_hf.tuner.checks import check_experience, check_name, check_sites, comparable
from atlas_hf.tuner.config import BASE, AtlasConfig
from atlas_hf.tuner.copies import keep_finished_copies
from atlas_hf.tuner.heads import build_head
from atlas_hf.tuner.layer import AtlasLayer
from atlas_hf.tuner.mixing import mixed_copies, runs_of
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
from atlas_hf.tuner.task_tuner import TaskTuner

# What chooses the sites.
SITE_FIELDS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save")


class AtlasTuner(TaskTuner):
    """Adapters at every site (`sites`, by their path in the base model), and one head per task (`atlas_head`).

    Heads live here and not in the base model, because each has its own width; PEFT saves and loads them with the task.
    """

    target_module_mapping = TARGET_MODULES  # type: ignore[assignment]  # PEFT takes a regex, too
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
        self._was_called = False

    def train(self, mode: bool = True) -> AtlasTuner:
        """The backbone is frozen: so are the running statistics of its batch norms (ALIGN), and they are used."""
        super().train(mode)
        for module in self._statistics:
            module.eval()
        return self

    def check_name(self, task: str) -> None:
        """Raise a `ValueError` for a task's name that PEFT could not tell from a module's."""
        check_name(task, self._base_parts.union(AtlasLayer.adapter_layer_names))

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Check everything that can be wrong with a new task, then add it: an error leaves the model as it was."""
        config = self.peft_config[adapter_name]
        self.check_name(adapter_name)
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
            empty = any(tensor.is_meta for tensor in head.parameters())  # low_cpu_mem_usage
            place = None if empty or parameter is None else parameter.device
            trains = adapter_name in self.active_adapters and not config.inference_mode
            head.requires_grad_(trains and self._head_trains(adapter_name))
            self.atlas_head[adapter_name] = head.to(place)
        for reused in config.experience:
            self._freeze(reused)
        if self._has_copies:
            keep_finished_copies(model, self.peft_config)
        if not config.inference_mode:
            self._warn_of_finished([adapter_name])

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

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """PEFT enters this around every forward call: tell the sites which tokens are padding."""
        self.check_loaded()
        if not self._was_called:  # a token classifier is copied after the tuner was made; nobody tells it
            keep_finished_copies(self.model, self.peft_config)
            self._was_called = True
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
        return {site: site.operands(tasks[0]) for site in self.sites.values() if site.adapts(tasks[0])}


def _sites_in(model: nn.Module) -> dict[str, AtlasLayer]:
    return {path: module for path, module in model.named_modules() if isinstance(module, AtlasLayer)}
