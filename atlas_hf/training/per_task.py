"""Settings of single tasks in a sequence: `learn_sequence(settings=...)`, checked before anything moves."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from datasets import Dataset
from transformers.trainer_utils import SchedulerType

from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.defaults import chosen_for, told
from atlas_hf.training.evidence import LEAST, is_head_alone

AUTO = "auto"  # chosen by the number of examples: instead of a task's settings, or among them with True
CONFIG = ("r",)  # fields of `AtlasConfig`
OF_ALL = ("output_dir", "push_to_hub", "hub_*")  # that of a sequence
_WAITING = SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY  # for a better evaluation

Given = Mapping[str, Mapping[str, Any] | str] | str | None


@dataclass(frozen=True)
class TaskSettings:
    """What a task is learned with: its arguments, and `config`, the fields of its config that are not the model's.

    `told` is what the user should know, if anything; `named`: were they given by the task's name?
    """

    args: AtlasTrainingArguments
    config: Mapping[str, Any]
    told: str = ""
    named: bool = False


def settings_by_task(
    given: Given, args: AtlasTrainingArguments, model: AtlasModel, stream: Sequence[tuple[TaskSpec, Mapping]]
) -> dict[str, TaskSettings]:
    """What each task of a stream is learned with.

    Raises:
        ValueError: a name that is no task's, a field that does not exist or cannot differ, or a value that is refused.
        TypeError: no dict, and not `"auto"`.
    """
    names = [spec.name for spec, _ in stream]
    _check_kind("settings", {} if given is None else given)
    own = dict.fromkeys(names, AUTO) if isinstance(given, str) else dict(given or {})
    _check_names("settings", "task of this sequence", own, names)
    found = {}
    for spec, data in stream:
        try:
            one = _of_task(own.get(spec.name, {}), args, model, len(data["train"]))
            _check_evaluations(one.args, data)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"Task '{spec.name}': {error}") from error
        named = spec.name in own and not isinstance(given, str)
        found[spec.name] = replace(one, told=_few(data, one.args) or one.told, named=named)
    return found


def _of_task(
    given: Mapping[str, Any] | str, args: AtlasTrainingArguments, model: AtlasModel, examples: int
) -> TaskSettings:
    _check_kind("its settings", given)
    values = {AUTO: True} if isinstance(given, str) else dict(given)
    auto = values.pop(AUTO, False)
    possible = [one.name for one in fields(AtlasTrainingArguments) if one.init]
    _check_names("its settings", "field of AtlasTrainingArguments, or r", values, [*CONFIG, *possible])
    if fixed := [name for name in values if any(fnmatchcase(name, pattern) for pattern in OF_ALL)]:
        raise ValueError(f"{', '.join(fixed)} is the same for all tasks of a sequence. Give it in args.")
    config: dict[str, Any] = {name: values.pop(name) for name in CONFIG if name in values}
    replace(deepcopy(model.task_config), **config)  # which checks them
    own = args.but(**values) if values else args
    if not auto:
        return TaskSettings(own, config)
    chosen = chosen_for(own, examples, values)
    return TaskSettings(chosen, config, told(chosen, own, examples))


def _few(data: Mapping[str, Dataset], args: AtlasTrainingArguments) -> str:
    """What becomes of a task that has too few examples to decide by; empty if it has enough. No step is taken then."""
    if not is_head_alone(len(data["train"]), data.get("validation"), args):
        return ""
    return (
        f"fewer than {LEAST} examples and no validation data: only its head is learned, at the earlier task that "
        "suits it best; expand='always' gives it an adapter of its own"
    )


def _check_kind(name: str, given: Any) -> None:
    if not (isinstance(given, Mapping) or given == AUTO):
        what = repr(given) if isinstance(given, str) else f"a {type(given).__name__}"
        raise TypeError(f"{name} is {what}; give a dict, or {AUTO!r}.")


def _check_names(where: str, kind: str, given: Iterable[str], possible: Sequence[str]) -> None:
    for name in given:
        if name not in possible:
            near = get_close_matches(str(name), possible, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Possible are {', '.join(possible[:20])}."
            raise ValueError(f"{where} names {name!r}, which is no {kind}. {hint}")


def _check_evaluations(args: AtlasTrainingArguments, data: Mapping[str, Dataset]) -> None:
    """What goes by evaluations needs something to evaluate on, which would be found out when the task is learned."""
    if "validation" in data:
        return
    for name, asked in (
        ("early_stopping_patience", args.early_stopping_patience),
        ("lr_scheduler_type", args.lr_scheduler_type in _WAITING),
        ("eval_on_start", args.eval_on_start),
    ):
        if asked:
            raise ValueError(
                f"{name}={getattr(args, name)!r} goes by evaluations, and there is no split 'validation'. Give one, "
                "or leave it out."
            )
