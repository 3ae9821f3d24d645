"""Going on with a folder that begins this sequence, or with a checkpoint, if all that decides is the same."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from atlas_hf.folder import INDEX, RESULTS, WEIGHTS, AtlasFormatError, Index, Results, load_tensors, refuse_links
from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.tuner import AtlasConfig

Stream = Sequence[tuple[TaskSpec, Mapping[str, Dataset]]]

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


def sequence_settings(
    model: AtlasModel, args: AtlasTrainingArguments, limit: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything that must stay the same while a folder is learned: what a reader is shown, and the rest.

    Shown is what differs from the defaults, and what one looks for in any case.
    """
    tuner, config = model.base_model, deepcopy(model.task_config)
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


def check_tasks_of_model(model: AtlasModel, folder: Path) -> None:
    """The folder must hold every task of the model, with the same tensors, and begin with them: nothing else is saved
    and scored with the rest. Raises a `ValueError` and writes nothing.
    """
    here, index = model.tasks, Index.load(folder).tasks if (folder / INDEX).is_file() else {}
    remedy = (
        "Give a model without tasks, AtlasModel.from_pretrained(BACKBONE): the tasks of a folder are loaded into it."
    )
    if here != list(index)[: len(here)]:
        holds = f"the tasks {list(index)}" if index else "no tasks"
        raise ValueError(
            f"The model holds the tasks {here} already, but {folder} holds {holds}. {remedy} Or give the folder that "
            "holds them, with a stream that begins with them."
        )
    tensors = {name: model.base_model.task_tensors(name) for name in here}
    for name in here:
        refuse_links(folder / name / WEIGHTS, folder)
    saved = {name: load_tensors(folder / name / WEIGHTS, tensors[name], index[name].files[WEIGHTS]) for name in here}
    changed = [
        name
        for name in here
        if any(not torch.equal(one.cpu(), tensors[name][key].cpu()) for key, one in saved[name].items())
    ]
    if changed:
        raise ValueError(f"The tasks {changed} of the model are not those that {folder} holds. {remedy}")


def resume(model: AtlasModel, folder: Path, stream: Stream, given: Results) -> Results:
    """Load what the folder holds, if anything, into the model; the results so far, with the given environment.

    Args:
        model: without tasks, or with those of the folder.
        given: without tasks; its settings and description are those that the folder must have been begun with.

    Raises:
        ValueError: other tasks, settings or data than those that the folder was begun with; the folder is left alone.
    """
    if not (folder / INDEX).is_file():
        return given
    results, done, names = Results.load(folder), list(Index.load(folder).tasks), [spec.name for spec, _ in stream]
    if done != names[: len(done)]:
        raise ValueError(
            f"{folder} holds the tasks {done}; this sequence is {names}. Give the same "
            "sequence to go on with it, or another folder."
        )
    _check_same(folder, results.settings | results.further_settings, given.settings | given.further_settings)
    _check_same(folder, results.description, given.description)
    results = results.first(len(done))  # the next one's are written before its line in atlas.json: it is learned again
    if (found := [task.name for task in results.tasks]) != done:
        raise AtlasFormatError(
            f"{folder}: {RESULTS} is of {found}, {INDEX} of {done}. Restore the files, or use another folder."
        )
    model.load_tasks(folder)
    known = list(zip(done, stream[: len(done)], results.tasks, strict=True))
    changed = [name for name, (spec, _), _ in known if spec != model.specs[name]]
    if changed:
        raise ValueError(f"{folder} holds {changed} with another TaskSpec. Give the same, or another folder.")
    changed = [name for name, (_, data), record in known if len(data["train"]) != record.train_examples]
    if changed:
        raise ValueError(f"{folder} holds {changed}, learned from other data. Give the same, or another folder.")
    return replace(given, tasks=results.tasks, matrix=results.matrix)


def _check_same(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """What an older version did not record, or only it did, is not compared."""
    now = {"token_weight": "each", **json.loads(json.dumps(now))}  # as they were written: a tuple is a list
    then = {"recipe": "paper", "token_weight": "each", **then}  # there was no other
    if "max_experience" in then:
        then = {**then, **_reuse_settings(then["max_experience"] if then.get("reuse", True) else 0)}
    changed = {name: then[name] for name, value in now.items() if name in then and then[name] != value}
    if changed:
        was = ", ".join(f"{name}={old!r} (now {now[name]!r})" for name, old in changed.items())
        raise ValueError(f"{folder} was learned with {was}. Use the same settings to go on, or another folder.")
