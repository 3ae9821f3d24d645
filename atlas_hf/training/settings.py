"""The settings of a task: which fields of its arguments and config decide what it comes to, and which are told."""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from atlas_hf.folder import Results, TaskResult
from atlas_hf.model import AtlasModel
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.tuner import AtlasConfig
from atlas_hf.tuner.checks import comparable

# Fields of the arguments that cannot change what is learned, by what they are about. Every other one counts.
_ARGUMENTS_THAT_DO_NOT_COUNT = {
    "where files go": ("output_dir", "push_to_hub", "hub_*"),
    "what is told on the way": (
        "logging_*", "log_*", "disable_tqdm", "report_to", "run_name", "project", "trackio_*", "debug",
        "include_num_input_tokens_seen", "skip_memory_metrics",
    ),
    "how many checkpoints are kept, and where a run begins": (
        "save_total_limit", "save_on_each_node", "save_only_model", "enable_jit_checkpoint", "resume_from_checkpoint",
        "restore_callback_states_from_checkpoint",
    ),
    "the machine: how batches come to it, and whether it holds them": (
        "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers",
        "dataloader_prefetch_factor", "dataloader_multiprocessing_context", "eval_accumulation_steps",
        "torch_empty_cache_steps", "use_cpu", "ddp_timeout", "local_rank",
    ),
    "read by scripts, not by Trainer": ("do_*",),
}  # fmt: skip
# Of a config: where the backbone lies (its weights are compared), PEFT's records, and what moves while a task learns.
_CONFIG_THAT_DOES_NOT_COUNT = (
    "base_model_name_or_path", "revision", "peft_type", "peft_version", "task_type", "auto_mapping",
    "stage", "inference_mode", "experience_sha256",
)  # fmt: skip
# What a reader is shown of the settings even where they are the defaults.
_ALWAYS_SHOWN = (
    "seed", "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "weight_decay",
    "gradient_accumulation_steps", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "warmup_steps",
    "experience_learning_rate", "experience_num_train_epochs", "experience_max_steps", "query_lr_multiplier",
    "orthogonality_weight", "early_stopping_patience", "load_best_model_at_end", "bf16", "fp16", "reuse",
    "max_experience", "recipe", "expand", "variant", "weighting", "r", "init_queries", "processes",
)  # fmt: skip
_SHOWN_AS_THE_ADAPTER = ("target_modules", "num_heads")  # in every task's config, and so in the card


def _decisive_arguments(args: AtlasTrainingArguments) -> dict[str, Any]:
    """The fields of the arguments that can change what is learned, and the number of processes."""
    silent = [pattern for patterns in _ARGUMENTS_THAT_DO_NOT_COUNT.values() for pattern in patterns]
    values = args.to_dict() | {"processes": args.world_size}
    if args.metric_for_best_model is None:  # the task's own; folders have it as Trainer's default for None
        values["metric_for_best_model"] = "loss"
        if args.greater_is_better is None:
            values["greater_is_better"] = False
    return {name: value for name, value in values.items() if not any(fnmatchcase(name, pattern) for pattern in silent)}


def _decisive_config(config: AtlasConfig) -> dict[str, Any]:
    """The fields of a task's configuration, or of the defaults of all, that can change what is learned."""
    return {name: value for name, value in config.to_dict().items() if name not in _CONFIG_THAT_DOES_NOT_COUNT}


def _reuse_settings(limit: int | None) -> dict[str, Any]:
    """How many earlier tasks are reused at most (None: all), as a folder records it."""
    return {"reuse": limit != 0, "max_experience": limit or None}


def all_settings(
    model: AtlasModel,
    args: AtlasTrainingArguments,
    limit: int | None,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything that can change what a task comes to: what a reader is shown, and the rest.

    Shown is what differs from the defaults, and what one looks for in any case. `changes`: of the model's config.
    """
    tuner, config = model.base_model, replace(deepcopy(model.task_config), **changes)
    # The backbone's defaults, as PEFT fills them in: a model that was loaded with its tasks has them in its config.
    tuner._prepare_adapter_config(config, tuner.get_model_config(model.get_base_model()))  # noqa: SLF001 (PEFT's hook)
    values = _decisive_arguments(args) | _decisive_config(config) | _reuse_settings(limit)
    defaults = _decisive_arguments(AtlasTrainingArguments("unused", use_cpu=args.use_cpu))
    defaults |= _decisive_config(AtlasConfig(variant=config.variant, weighting=config.weighting))
    defaults |= {name: values[name] for name in _SHOWN_AS_THE_ADAPTER}
    other = [name for name in values if name not in _ALWAYS_SHOWN]
    shown = [*_ALWAYS_SHOWN, *(name for name in other if values[name] != defaults.get(name))]
    return {name: values[name] for name in shown}, {name: values[name] for name in other if name not in shown}


def fingerprint(args: AtlasTrainingArguments, config: AtlasConfig, *further: Any) -> str:
    """A digest of what decides what a task comes to, the same in every process for the same settings."""
    settings = [_decisive_arguments(args), _decisive_config(config), *further]
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=_as_json).encode()).hexdigest()


def _as_json(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def as_written(results: Results, task: TaskResult | None = None) -> dict[str, Any]:
    """The settings that a folder was begun with, or those of a task in it. There was no other value of two."""
    then = {"recipe": "paper", "token_weight": "each", **results.settings, **results.further_settings}
    then |= task.settings if task else {}
    if "max_experience" in then:
        then |= _reuse_settings(then["max_experience"] if then.get("reuse", True) else 0)
    return then


def differing(then: Mapping[str, Any], shown: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings of a task, those that are others `then`; what was not recorded then, if it is worth a look."""
    now = json.loads(json.dumps({**shown, **further}, default=_as_json))  # as they were written: a tuple is a list
    return {
        name: value
        for name, value in now.items()
        if (comparable(then[name]) != comparable(value) if name in then else name in shown and value is not None)
    }
