"""`TaskTrainer`: transformers' Trainer for one task of a model that holds several."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from math import isfinite
from typing import Any, NoReturn

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import EvalPrediction, IntervalStrategy, SchedulerType, TrainOutput
from transformers.training_args import OptimizerNames

from atlas_hf.data import without_format
from atlas_hf.data.looking import look_at
from atlas_hf.metrics.single import METRIC_FUNCTIONS
from atlas_hf.training import refused
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.console import TrainingBar, TrainingLines, tell_instead
from atlas_hf.training.refused import refuse
from atlas_hf.tuner import global_draws


class TaskTrainer(Trainer):
    """Trains what is trainable, and scores a task by the metric of its `TaskSpec`, always under the same seed.

    Its model has `specs`, `task`, `set_task` and `collator`, as an `AtlasModel` has, and gives the loss of its active
    task, which is also the default of `task`. Without `eval_dataset` training ends with its last state; several, in a
    dict by name, are evaluated one after the other. The metrics of a `compute_metrics` stand beside the task's own.
    Raises a `ValueError` for an unknown task, data that do not fit its `TaskSpec`, or an argument that it refuses.
    """

    model: Any  # a Module that has these
    args: AtlasTrainingArguments
    train_dataset: Any

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        task: str | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        **kwargs: Any,
    ) -> None:
        if not hasattr(model, "specs"):
            raise TypeError(
                f"model is a {type(model).__name__}; give an AtlasModel (AtlasModel.from_pretrained). A model of "
                "get_peft_model is trained by transformers' own Trainer."
            )
        self.task = task or model.task
        if self.task is None or self.task not in model.specs:
            known = list(model.specs)
            raise ValueError(f"There is no task {self.task!r}; there are {known}. Call model.add_task first.")
        self.spec = model.specs[self.task]
        for name, reason in refused.PARAMETERS.items():
            if kwargs.get(name) is not None:
                refuse(name, kwargs[name], reason)
        args = AtlasTrainingArguments.of(args)
        if eval_dataset == {}:
            raise ValueError("eval_dataset is an empty dict; give a data set by its name in it, or leave it out.")
        sets = eval_dataset if isinstance(eval_dataset, dict) else {"": eval_dataset}
        self._look_at(train_dataset, sets, quiet=args.disable_tqdm or args.process_index > 0)
        sets = {name: without_format(rows) for name, rows in sets.items()}
        train_dataset, eval_dataset = without_format(train_dataset), sets.get("", sets)
        self.further_metrics = kwargs.pop("compute_metrics", None)
        kwargs.setdefault("data_collator", model.collator(self.task))
        self._fit(args, sets)
        if train_dataset is not None:
            self._check_training(args, train_dataset, sets, kwargs.get("callbacks") or [])
        kwargs |= {"train_dataset": train_dataset, "eval_dataset": eval_dataset, "compute_metrics": self._metrics}
        super().__init__(model, args, **kwargs)
        tell_instead(self, *self._tellers())
        # ViLT and others take **kwargs, from which Trainer would conclude that they scale the loss themselves.
        self.model_accepts_loss_kwargs = False

    def _tellers(self) -> list[TrainerCallback]:
        """What says how the training goes."""
        bars = [] if self.args.disable_tqdm else [TrainingBar(lambda: self.task)]
        return [TrainingLines(self.task), *bars]

    def _look_at(self, train: Dataset | None, sets: Mapping[str, Dataset | None], quiet: bool) -> None:
        """All that is given, before anything moves."""
        given = {"train": train} | {f"validation {name}".rstrip(): rows for name, rows in sets.items()}
        given = {split: rows for split, rows in given.items() if rows is not None}
        look_at(self.spec, given, quiet=quiet)

    def _fit(self, args: AtlasTrainingArguments, sets: Mapping[str, Dataset | None]) -> None:
        """To this task: by default its own metric, on the first set, decides which state is the best."""
        args.check()
        first = next(iter(sets))
        if args.metric_for_best_model is None:
            args.metric_for_best_model = f"eval_{first}_{self.spec.metric}" if first else f"eval_{self.spec.metric}"
        if args.greater_is_better is None:
            args.greater_is_better = not args.metric_for_best_model.endswith("loss")
        if sets[first] is None:  # there is no best state: the last one is kept
            args.eval_strategy, args.load_best_model_at_end = IntervalStrategy.NO, False

    def _check_training(
        self,
        args: AtlasTrainingArguments,
        data: Dataset,
        sets: Mapping[str, Dataset | None],
        callbacks: Sequence[Any],
    ) -> None:
        """Raise a `ValueError` for what would only fail once training runs."""
        stops = [one for one in callbacks if isinstance(one, EarlyStoppingCallback)]
        plateau = args.lr_scheduler_type in (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)
        if args.eval_strategy == IntervalStrategy.NO and (stops or args.early_stopping_patience or plateau):
            what = "lr_scheduler_type" if plateau else "early stopping"
            raise ValueError(f"{what} goes by evaluations; pass eval_dataset, and an eval_strategy other than 'no'.")
        if args.eval_on_start and None in sets.values():
            raise ValueError("eval_on_start evaluates; pass eval_dataset.")
        metric = str(args.metric_for_best_model).removeprefix("eval_")
        known = [f"{name}_{own}" if name else own for name in sets for own in (self.spec.metric, "loss")]
        if self.further_metrics is None and metric not in known:
            raise ValueError(
                f"metric_for_best_model is {metric!r}; evaluation gives {known}. Pass compute_metrics for others."
            )
        sorted_sets = {"group_by_length": [data, *sets.values()], "batch_rebalance": [data]}
        batch = args.train_batch_size * args.world_size
        if args.dataloader_drop_last and len(data) < batch:
            raise ValueError(
                f"dataloader_drop_last=True drops the last batch that is not full: of {len(data)} rows in batches of "
                f"{batch} none is left. Leave it out, or lower per_device_train_batch_size."
            )
        by_length = sorted_sets.get(args.train_sampling_strategy, [])
        if any(one is not None and args.length_column_name not in one.column_names for one in by_length):
            raise ValueError(
                f"train_sampling_strategy={args.train_sampling_strategy!r} needs the lengths of the examples: add a "
                f"column {args.length_column_name!r} of numbers to the data (length_column_name)."
            )
        try:
            self.get_optimizer_cls_and_kwargs(args)
        except ImportError as error:
            raise ValueError(f"optim={OptimizerNames(args.optim).value!r}: {error}") from error

    def _metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """The task's own metric, and those of the user."""
        predictions, labels = _whole(prediction.predictions), _whole(prediction.label_ids)
        own = {self.spec.metric: METRIC_FUNCTIONS[self.spec.metric](predictions, labels)}
        further = self.further_metrics(prediction) if self.further_metrics else {}
        if not isinstance(further, dict):
            raise TypeError(f"compute_metrics gave {further!r}; give a dict of numbers by their names, {{}} for none.")
        return own | further

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Trainer's; which metrics the user's `compute_metrics` gives is not known before it was called."""
        name, decides = str(self.args.metric_for_best_model), self.args.load_best_model_at_end
        value = metrics.get(name)
        if value is None or (decides and not isfinite(value)):
            given = [one.removeprefix("eval_") for one, score in metrics.items() if isfinite(score)]
            raise ValueError(
                f"metric_for_best_model is {name.removeprefix('eval_')!r}, which this evaluation gave "
                f"{'not at all' if value is None else f'as {value}'}, so that no state is the best. Name one of "
                f"{given}, or let compute_metrics give it."
            )
        return super()._determine_best_metric(metrics, trial)

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trainer's, and the model is afterwards as free as before."""
        try:
            return super().train(*args, **kwargs)
        finally:
            if (hook := getattr(self, "neftune_hook_handle", None)) is not None:  # there still after an error
                hook.remove()
            self.is_in_train = False
            self._release()

    def _release(self) -> None:
        """Leave nothing of accelerate on the model, which others train, evaluate and use after this trainer.

        Its wrapper of `forward` would go on to compute in mixed precision. Its mark, left by an evaluation, would keep
        the next training from being wrapped: each process would go its own way; nothing public takes it off. Of its
        list of models, which would keep the next evaluation from being wrapped, `Accelerator.free_memory` is the
        public end, but that collects garbage: a second or less, for each of a matrix's evaluations.
        """
        self.model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.model_wrapped = self.model
        own = vars(self.model)
        if getattr(own.get("forward"), "__func__", None) is type(self.model).forward:  # instead of its wrapper
            del own["forward"]
        own.pop("_is_accelerate_prepared", None)
        self.accelerator._models.clear()  # noqa: SLF001 (see above; Trainer reads it too)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The one that `args` choose, over all that is trainable, each parameter at its `rate`."""
        if self.optimizer is None:
            optimizer, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = optimizer(self._parameter_groups(self.model if model is None else model), **options)
        return self.optimizer

    def _parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Each parameter at its own rate; no decay of biases and norms (released code)."""
        decayed = set(self.get_decay_parameter_names(model))
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                decay = self.args.weight_decay if name in decayed else 0.0
                groups.setdefault((self.args.learning_rate * self.rate(name), decay), []).append(parameter)
        return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]

    def rate(self, name: str) -> float:
        """The learning rate of a parameter, as a multiple of `args.learning_rate`."""
        return 1.0

    def hyperparameter_search(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused."""
        refuse("hyperparameter_search", args or kwargs, refused.METHODS["hyperparameter_search"])

    def call_model_init(self, trial: Any = None) -> NoReturn:
        """Refused."""
        refuse("call_model_init", trial, refused.METHODS["call_model_init"])

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Refused, as every push: it would send a checkpoint of what trains, which nothing loads."""
        refuse("push_to_hub", True, refused.PUSH_OF_A_TASK)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Refused."""
        refuse("push_to_hub", True, refused.PUSH_OF_A_TASK)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's, of this task and under a fixed seed."""
        if self.model.task != self.task:
            self.model.set_task(self.task)
        try:
            with _under_one_seed(self.model):
                return super().evaluation_loop(*args, **kwargs)
        finally:
            if not self.is_in_train:
                self._release()


@contextmanager
def _under_one_seed(model: nn.Module) -> Iterator[None]:
    """What Trainer's loop draws in evaluation is the same each time, and the training draws on as if without it."""
    trained = model.training
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), global_draws():
        torch.manual_seed(0)
        try:
            yield
        finally:
            if trained:
                model.train()


def _whole(batches: Any) -> np.ndarray:
    """One array, where `eval_do_concat_batches=False` gives one for each batch."""
    return np.concatenate(batches) if isinstance(batches, list) else np.asarray(batches)


def evaluate_task(
    model: Any, task: str, dataset: Dataset, args: AtlasTrainingArguments, **options: Any
) -> dict[str, float]:
    """The task's metric and loss on a split; `options` are further ones of `TaskTrainer`."""
    args = copy(args)
    args.report_to, args.disable_tqdm, args.push_to_hub = [], True, False
    args.output_dir = os.curdir  # nothing is written, but Trainer makes this folder
    trainer = TaskTrainer(model, args, task, eval_dataset=dataset, **options)
    trainer.remove_callback(PrinterCallback)
    metrics = trainer.evaluate()
    return {name.removeprefix("eval_"): value for name, value in metrics.items()}


def score(model: Any, task: str, dataset: Dataset, args: AtlasTrainingArguments) -> float:
    """The task's own metric on a split."""
    return evaluate_task(model, task, dataset, args)[model.specs[task].metric]
