"""`AtlasTrainingArguments`: transformers' own, with what two stages need in addition."""

from __future__ import annotations

import os
from copy import copy
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SaveStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from atlas_hf.training import refused
from atlas_hf.training.refused import refuse

RECIPES, EXPAND = ("evidence", "paper"), ("auto", "always", "never")
_NUMBERS = (
    "learning_rate", "experience_learning_rate", "num_train_epochs", "experience_num_train_epochs",
    "query_lr_multiplier", "orthogonality_weight", "weight_decay",
)  # fmt: skip
_COUNTS = (
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "early_stopping_patience",
)  # fmt: skip


def _at_least(value: object, least: int) -> bool:
    """Of a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < float("inf")


@dataclass
class AtlasTrainingArguments(TrainingArguments):
    """Everything of `TrainingArguments`; numbers are those of the released code (train.py, Model/vilt_model.py).

    `learning_rate`, `num_train_epochs` and `max_steps` are those of novel knowledge expansion. The fields that begin
    with `experience_` are those of experience-based learning, and None means "the same". `metric_for_best_model` is by
    default the task's own metric. What a task cannot be trained with is refused (`docs/training-arguments.md`).

    Args:
        recipe: how a task is learned. `"evidence"`: it begins at the model of the earlier task whose features suit it
            best, or at the bare backbone (`atlas_hf.training.sources`), with a head learned to its end there
            (`head_start`), and a stage after which it is not clearly better is undone. `"paper"`: every earlier task
            is reused, from queries as `AtlasConfig.init_queries` says and a head that is drawn; both stages count.
        expand: of the recipe `"evidence"`: does a task get an adapter of its own? `"auto"` decides by examples that
            it has not learned from: those of `eval_dataset`; without one, by a tenth of the training examples (at most
            250), which is held out until then, or, of fewer than 1,000, by three-fold cross-validation before. A task
            that begins at the bare backbone with 1,000 examples or more always gets one; of fewer than 48, without
            `eval_dataset`, only the head is learned. `"always"` (or True) and `"never"` (or False) decide beforehand.
        orthogonality_weight: weight of the orthogonality penalty in the loss. The released code has 0.1 at some tasks
            and 1e-7 at others. With 0.1 the penalty alone decides where the queries go: it draws them to unit length,
            which their fast rate oversteps at every step, so that their directions, and the coefficients, stay random.
    """

    learning_rate: float = field(default=5e-4, metadata={"help": "Learning rate of novel knowledge expansion."})
    num_train_epochs: float = field(default=20.0, metadata={"help": "Epochs of novel knowledge expansion."})
    per_device_train_batch_size: int = field(default=128, metadata={"help": "Examples per step and device."})
    per_device_eval_batch_size: int = field(default=128, metadata={"help": "Examples per evaluation step and device."})
    weight_decay: float = field(default=0.01, metadata={"help": "Not applied to biases and norms."})
    adam_beta2: float = field(default=0.98, metadata={"help": "As in the released code."})
    adam_epsilon: float = field(default=1e-4, metadata={"help": "As in the released code."})
    max_grad_norm: float = field(
        default=0.0,
        metadata={"help": "No clipping, as in the released code: the penalty's gradient would shrink the task's."},
    )
    lr_scheduler_type: SchedulerType | str = field(
        default="linear", metadata={"help": "Linear to 0 after the warm-up."}
    )
    warmup_steps: float = field(default=0.1, metadata={"help": "Steps, or below 1 the share of all steps."})
    eval_strategy: IntervalStrategy | str = field(
        default="epoch", metadata={"help": "When to evaluate during a stage."}
    )
    save_strategy: SaveStrategy | str = field(
        default="epoch", metadata={"help": "When to write a checkpoint during a stage."}
    )
    logging_strategy: IntervalStrategy | str = field(default="epoch", metadata={"help": "When to log during a stage."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept per stage."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Each stage ends with its best state."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator reads the data set's columns."})
    label_names: list[str] | None = field(default_factory=lambda: ["labels"], metadata={"help": "Of the batches."})
    dataloader_pin_memory: bool = field(
        default_factory=torch.cuda.is_available, metadata={"help": "Of use with an accelerator only."}
    )

    experience_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of experience-based learning; by default learning_rate."}
    )
    experience_num_train_epochs: float | None = field(
        default=None, metadata={"help": "Epochs of experience-based learning; by default num_train_epochs."}
    )
    experience_max_steps: int | None = field(
        default=None, metadata={"help": "Steps of experience-based learning; by default max_steps."}
    )
    query_lr_multiplier: float = field(
        default=100.0, metadata={"help": "The queries over the experience learn at learning_rate times this."}
    )
    orthogonality_weight: float = field(default=1e-7, metadata={"help": "Weight of the orthogonality penalty."})
    recipe: str = field(default="evidence", metadata={"help": "How a task is learned: evidence or paper."})
    expand: str = field(
        default="auto", metadata={"help": "Does a task get an adapter of its own? auto, always or never."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "End a stage after as many evaluations without a better metric."}
    )

    def __post_init__(self) -> None:
        self._check_whole_model()
        best = self.metric_for_best_model, self.greater_is_better
        super().__post_init__()
        self.metric_for_best_model, self.greater_is_better = best  # a None would have become "loss"
        self.expand = {"true": "always", "false": "never"}.get(str(self.expand).lower(), self.expand)
        if best[0] is not None:
            self.metric_for_best_model = f"eval_{best[0].removeprefix('eval_')}"
        self.check()

    @classmethod
    def of(cls, args: TrainingArguments) -> AtlasTrainingArguments:
        """A copy; of transformers' own arguments one with the same values, where a task can be trained with them.

        Raises a `TypeError` for other kinds of arguments.
        """
        if isinstance(args, cls):
            return copy(args)
        if type(args) is not TrainingArguments:
            raise TypeError(f"args is a {type(args).__name__}; give AtlasTrainingArguments(output_dir, ...).")
        values = {one.name: getattr(args, one.name) for one in fields(args) if one.init}
        values |= {"remove_unused_columns": False, "label_names": args.label_names or ["labels"]}
        if not args.fsdp:  # in some releases no longer empty after a look at it
            values["fsdp_config"] = None
        return cls(**values)

    def check(self) -> None:
        """Raise a `ValueError` for what a task cannot be trained with: fields may have changed since they were set."""
        for name, reason in refused.ARGUMENTS.items():
            if value := getattr(self, name, None):
                refuse(name, value, reason)
        if (strategy := HubStrategy(self.hub_strategy).value) in refused.HUB_STRATEGIES:
            refuse("hub_strategy", strategy, refused.CHECKPOINTS_ON_THE_HUB)
        if (optimizer := OptimizerNames(self.optim).value).startswith(refused.OPTIMIZERS):
            refuse("optim", optimizer, refused.WHOLE_MODEL)
        if self.fp16 and self.device.type == "cpu":
            refuse("fp16", True, refused.HALF_ON_CPU)
        if self.label_names != ["labels"]:
            refuse("label_names", self.label_names, refused.LABEL_NAMES)
        self._check_recipe()
        self._check_numbers()
        self._check_trackers()

    def _check_recipe(self) -> None:
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe is {self.recipe!r}; possible are {', '.join(RECIPES)}.")
        if self.expand not in EXPAND:
            raise ValueError(f"expand is {self.expand!r}; possible are {', '.join(EXPAND)}.")
        if self.recipe == "paper" and self.expand == "never":
            raise ValueError("expand='never' belongs to recipe='evidence'; of recipe='paper' both stages count.")

    def _check_numbers(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            if not (value is None and name.startswith("experience_")) and not _at_least(value, 0):
                raise ValueError(f"{name} is {value!r}; give a number that is 0 or more.")
        for name in _COUNTS:
            value = getattr(self, name)
            unset = value is None and name == "early_stopping_patience"
            if not unset and not (isinstance(value, int) and _at_least(value, 1)):
                raise ValueError(f"{name} is {value!r}; give a whole number that is 1 or more.")

    def _check_trackers(self) -> None:
        """Each must be installed: that is found out by making it, as Trainer does."""
        for name in self.report_to or ():
            if name not in INTEGRATION_TO_CALLBACK:
                possible = ", ".join(INTEGRATION_TO_CALLBACK)
                raise ValueError(f"report_to names {name!r}, which is no tracker; possible are {possible}, and none.")
            try:
                INTEGRATION_TO_CALLBACK[name]()
            except (ImportError, RuntimeError) as error:
                raise ValueError(f"report_to names {name!r}: {error} Or leave it out of report_to.") from error

    def _check_whole_model(self) -> None:
        """Each process must hold every tensor: the stages compare and hash them, and checkpoints are of one task."""
        for name, given, variable in (
            ("FSDP", self.fsdp or self.fsdp_config, "ACCELERATE_USE_FSDP"),
            ("DeepSpeed", self.deepspeed, "ACCELERATE_USE_DEEPSPEED"),
        ):
            if given or os.environ.get(variable, "").lower() in ("1", "true", "yes"):
                raise ValueError(
                    f"{name} was asked for, but parameters and optimizer would be cut up between the processes, which "
                    "two stages with checkpoints of single tasks do not allow. Use plain data parallelism: "
                    "`accelerate launch --multi_gpu` (or --cpu), without --use_fsdp and --use_deepspeed."
                )

    def for_stage(self, task: str, stage: str) -> AtlasTrainingArguments:
        """A copy with the stage's learning rate and length, and a folder of its own for checkpoints."""
        args = copy(self)
        args.output_dir = str(Path(str(self.output_dir)) / task / stage)
        if stage == "experience":
            for name in ("learning_rate", "num_train_epochs", "max_steps"):
                value = getattr(self, f"experience_{name}")
                setattr(args, name, getattr(self, name) if value is None else value)
        return args
