"""`TaskTrainer`: transformers' Trainer for one task of a model that holds several."""

from copy import copy
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer
from transformers.trainer_utils import EvalPrediction, TrainOutput

from atlas_hf.data import without_format
from atlas_hf.data.looking import look_at
from atlas_hf.metrics.single import METRIC_FUNCTIONS
from atlas_hf.model import evaluating
from atlas_hf.training.arguments import AtlasTrainingArguments


class TaskTrainer(Trainer):
    """Trains what is trainable, and scores a task by the metric of its `TaskSpec`, always under the same seed.

    Its model has `specs`, `task`, `set_task` and `collator`, as an `AtlasModel` has, and gives the loss of its active
    task, which is also the default of `task`. Without `eval_dataset` training ends with its last state. Raises a
    `ValueError` for an unknown task, or data that do not fit its `TaskSpec`.
    """

    model: Any  # a Module that has these
    args: AtlasTrainingArguments
    train_dataset: Any

    def __init__(
        self,
        model: Any,
        args: AtlasTrainingArguments,
        task: str | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | None = None,
        **kwargs: Any,
    ) -> None:
        self.task = task or model.task
        if self.task is None or self.task not in model.specs:
            known = list(model.specs)
            raise ValueError(f"There is no task {self.task!r}; there are {known}. Call model.add_task first.")
        self.spec = model.specs[self.task]
        given = {"train": train_dataset, "validation": eval_dataset}
        given = {split: rows for split, rows in given.items() if rows is not None}
        look_at(self.spec, given, quiet=args.disable_tqdm or args.process_index > 0)
        train_dataset, eval_dataset = without_format(train_dataset), without_format(eval_dataset)
        kwargs.setdefault("data_collator", model.collator(self.task))
        kwargs.setdefault("compute_metrics", self._metrics)
        args = copy(args)
        args.metric_for_best_model, args.greater_is_better = f"eval_{self.spec.metric}", True
        if eval_dataset is None:  # there is no best state: the last one is kept
            args.eval_strategy, args.load_best_model_at_end, args.early_stopping_patience = "no", False, None
        super().__init__(model, args, train_dataset=train_dataset, eval_dataset=eval_dataset, **kwargs)
        # ViLT and others take **kwargs, from which Trainer would conclude that they scale the loss themselves.
        self.model_accepts_loss_kwargs = False

    def _metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        predictions, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        return {self.spec.metric: METRIC_FUNCTIONS[self.spec.metric](predictions, labels)}

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trainer's, and the model is afterwards as free as before."""
        try:
            return super().train(*args, **kwargs)
        finally:
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
        vars(self.model).pop("_is_accelerate_prepared", None)
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

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's own loss; with `return_outputs` a pair of it and the outputs."""
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's, of this task and under a fixed seed."""
        if self.model.task != self.task:
            self.model.set_task(self.task)
        try:
            with evaluating(self.model):
                return super().evaluation_loop(*args, **kwargs)
        finally:
            if not self.is_in_train:
                self._release()


def evaluate_task(model: Any, task: str, dataset: Dataset, args: AtlasTrainingArguments) -> dict[str, float]:
    """The task's metric and loss on a split."""
    args = copy(args)
    args.report_to, args.disable_tqdm, args.push_to_hub = [], True, False
    trainer = TaskTrainer(model, args, task, eval_dataset=dataset)
    trainer.remove_callback(PrinterCallback)
    metrics = trainer.evaluate()
    return {name.removeprefix("eval_"): value for name, value in metrics.items()}


def score(model: Any, task: str, dataset: Dataset, args: AtlasTrainingArguments) -> float:
    """The task's own metric on a split."""
    return evaluate_task(model, task, dataset, args)[model.specs[task].metric]
