"""What of transformers' Trainer and its arguments is refused, by name, with the reason and what to do instead.

Everything else works in each stage as it does there; `docs/training-arguments.md` lists all of it, and
`tests/training/test_training_arguments.py` holds both to the installed transformers.
"""

from typing import NoReturn

_CAST = "it would cast the whole model, the adapters of finished tasks included, for good. Use bf16 or fp16"
_OWN_METRIC = "the task's own metric is computed from all predictions, a few numbers per example"

# Fields of `TrainingArguments`. Refused is whatever is not empty, zero or False.
ARGUMENTS = {
    "label_smoothing_factor": "a task's head has its own loss. Pass compute_loss_func, which may smooth the labels",
    "bf16_full_eval": _CAST,
    "fp16_full_eval": _CAST,
    "use_liger_kernel": "it would replace parts of the backbone, which all tasks share, for good. Leave it out",
    "liger_kernel_config": "it goes with use_liger_kernel, which is refused. Leave it out",
    "use_cache": "it keeps what text is generated from, and nothing is generated. Leave it out",
    "optim_target_modules": "it goes with the GaLore and APOLLO optimizers, which are refused. Leave it out",
    "prediction_loss_only": f"{_OWN_METRIC}. Leave it out",
    "batch_eval_metrics": f"{_OWN_METRIC}. Leave it out: compute_metrics then gets all of them at once",
    "enable_jit_checkpoint": "it writes checkpoints that cannot be told from half-written ones. Use save_strategy="
    "'steps' with a small save_steps: train(resume_from_checkpoint=True) goes on from the last whole one",
    "hub_always_push": "what is pushed are finished tasks, one after the other. Leave it out",
    "hub_revision": "each task is a commit on main, with a tag of its own. Leave it out",
    "parallelism_config": "each process must hold every tensor. Use plain data parallelism: `accelerate launch "
    "--multi_gpu`",
    "remove_unused_columns": "the collator reads the data set's columns. Leave it out (False)",
    "debug": "it would leave hooks on the backbone, which all tasks share. Leave it out: a loss that is NaN or "
    "infinite ends a stage in any case",
}
# Values of fields that are otherwise fine.
HUB_STRATEGIES = ("checkpoint", "all_checkpoints")
CHECKPOINTS_ON_THE_HUB = (
    "checkpoints are not pushed, only finished tasks. Leave it out ('every_save' and 'end' are the same here)"
)
OPTIMIZERS = ("galore_", "apollo_", "lomo", "adalomo")  # begin so
WHOLE_MODEL = "it takes the whole model's parameters, but queries learn at a rate of their own. Choose another"
HALF_ON_CPU = "a CPU would not compute in it, and nobody would say so. Use bf16"
LABEL_NAMES = "the collator calls them 'labels'. Leave it out"

# Parameters of `Trainer`. Refused is whatever is not None.
PARAMETERS = {
    "optimizers": "Each stage makes its own optimizer; choose it with args.optim and its settings.",
    "optimizer_cls_and_kwargs": "Each stage makes its own optimizer; choose it with args.optim and its settings.",
    "model_init": "a task learns on top of those before it. Pass the model, and set_seed before model.add_task",
    "processing_class": "the model's own processor (model.processor) reads the data. Leave it out",
    "preprocess_logits_for_metrics": f"{_OWN_METRIC}. Do it in compute_metrics",
}
PUSH_OF_A_TASK = "a TaskTrainer has nothing that could be loaded from there. Use AtlasTrainer, or model.push_to_hub"
# Methods of `Trainer`.
_SEARCH = "trials would learn the same task again on the same model. Search around `learn_sequence`, a folder each"
METHODS = {"hyperparameter_search": _SEARCH, "call_model_init": _SEARCH}
# Parameters of `push_to_hub` and `create_model_card`.
PUSH = (
    "every task is a commit of its own, with the title, tag and card that atlas_hf gives it. Leave it out; a card "
    "that is edited on the Hub is kept"
)


def refuse(name: str, value: object, reason: str) -> NoReturn:
    """Raise the `ValueError` of an argument."""
    raise ValueError(f"{name}={value!r} is refused: {reason.rstrip('.')}.")
