"""What a training tells on the way: how long it will take, a line for each evaluation, and a bar."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import transformers.trainer
from tqdm.auto import tqdm
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import IntervalStrategy

FIRST_STEPS, FIRST_SECONDS = 2, 2.0  # after these it is told how long all will take
_UNTOLD = ("loss", "runtime", "samples_per_second", "steps_per_second", "model_preparation_time")  # ends of names


def tell(text: str) -> None:
    """Print, above a progress bar if there is one, and at once: it may be read through a pipe."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def duration(seconds: float) -> str:
    """For a reader: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class TrainingLines(PrinterCallback):
    """`movies  epoch 3 of 20  loss 0.650  accuracy 0.670  (37 s, 10 min left)`, instead of Trainer's dictionaries.

    A line for each evaluation in a training, or, where nothing is evaluated, whenever the loss is logged. The loss is
    that of the training. `log_history` and trackers have all that there is.

    Args:
        task: what each line begins with.
        elapsed: the seconds that the training took so far; by default since its first step.
        further: how many steps come after those of this training, in later ones.
    """

    def __init__(
        self, task: str, elapsed: Callable[[], float] | None = None, further: Callable[[], int] | None = None
    ) -> None:
        self.task = task
        self._elapsed = elapsed or self._since_begin
        self._further = further or (lambda: 0)
        self._running, self._told = False, False
        self._began, self._first = 0.0, 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the clock."""
        self._began, self._first = time.perf_counter(), state.global_step
        self._running, self._told = True, False

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """What is evaluated now is no part of a training."""
        self._running = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """After the first steps, say how long all will take, if it is worth a word."""
        if self._told or state.global_step - self._first < FIRST_STEPS or self._since_begin() < FIRST_SECONDS:
            return
        self._told = True
        left = state.max_steps - state.global_step + self._further()
        if state.is_world_process_zero and left:
            tell(f"{self.task}  about {duration(self._left(state))} for {left:,} more steps, without evaluations")

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print the line of an evaluation in a training."""
        if self._running and state.is_world_process_zero:
            tell(self._line(args, state, metrics or {}))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print the loss where nothing is evaluated."""
        evaluated = args.eval_strategy != IntervalStrategy.NO
        if self._running and not evaluated and "loss" in (logs or {}) and state.is_world_process_zero:
            tell(self._line(args, state, {}))

    def _line(self, args: TrainingArguments, state: TrainerState, metrics: Mapping[str, float]) -> str:
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        shown = {"loss": losses[-1]} if losses else {}
        shown |= {
            name.removeprefix("eval_"): value
            for name, value in metrics.items()
            if name != "epoch" and not name.endswith(_UNTOLD) and isinstance(value, (int, float))
        }
        times = duration(self._elapsed())
        if state.global_step > self._first:
            self._told = True
            times += f", {duration(self._left(state))} left"
        return "  ".join([self.task, _where(args, state), *map(_score, shown, shown.values()), f"({times})"])

    def _left(self, state: TrainerState) -> float:
        """Seconds, of this training and the later ones."""
        each = self._since_begin() / (state.global_step - self._first)
        return each * (state.max_steps - state.global_step + self._further())

    def _since_begin(self) -> float:
        return time.perf_counter() - self._began


def _score(name: str, value: float) -> str:
    return f"{name} {value:.3f}" if abs(value) < 100 else f"{name} {value:.4g}"


def _where(args: TrainingArguments, state: TrainerState) -> str:
    """How far a training is: in steps if its length was given so."""
    if args.max_steps > 0:
        return f"step {state.global_step:,} of {state.max_steps:,}"
    return f"epoch {_short(state.epoch or 0)} of {_short(args.num_train_epochs)}"


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


class TrainingBar(ProgressCallback):
    """Trainer's progress bar, with a title in front, and without its dictionaries."""

    def __init__(self, title: Callable[[], str]) -> None:
        super().__init__()
        self.title = title

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Name the bar."""
        super().on_train_begin(*args, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(self.title())

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `TrainingLines` says it."""


def tell_instead(trainer: Trainer, *callbacks: TrainerCallback) -> None:
    """Let these speak, and not what Trainer added last of its own: dictionaries, a bar, or a notebook's table.

    The table of a notebook takes the times out of what `evaluate` returns, and the epoch, and knows no stages.
    """
    added = PrinterCallback if trainer.args.disable_tqdm else transformers.trainer.DEFAULT_PROGRESS_CALLBACK
    trainer.remove_callback([one for one in trainer.callback_handler.callbacks if type(one) is added][-1])
    for callback in callbacks:
        trainer.add_callback(callback)
