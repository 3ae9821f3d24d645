"""What can be wrong with the arguments of a sequence and with its tasks, found before anything is learned."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset

from atlas_hf.data.looking import look_at
from atlas_hf.folder import RESULTS, check_structure, json_text, limit_of
from atlas_hf.model import AtlasModel
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.resuming import Stream

NEEDED = ("train", "test")
SPLITS = ("train", "validation", "test")


def check_arguments(model: Any, reuse: Any, max_experience: Any, description: Any) -> None:
    """Raise for what would be found out when the first task is learned, or never."""
    if not isinstance(model, AtlasModel):
        raise TypeError(f"model is a {type(model).__name__}; give an AtlasModel (AtlasModel.from_pretrained).")
    if not isinstance(reuse, bool):
        raise TypeError(f"reuse is {reuse!r}; give True or False.")
    whole = isinstance(max_experience, int) and not isinstance(max_experience, bool)
    if max_experience is not None and not (whole and max_experience >= 0):
        raise ValueError(f"max_experience is {max_experience!r}; give a whole number from 0, or None for all tasks.")
    if not isinstance(description, Mapping | None):
        raise TypeError(f"description is a {type(description).__name__}; give a dict.")
    try:
        text = json_text(description or {}).encode()
        check_structure("it", text, limit_of(Path(RESULTS)))  # what is written is read again, within limits
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"description cannot be kept in results.json: {error}. Give names with texts, finite numbers, and lists "
            "and dicts of those."
        ) from error


def pairs_of(given: Any, name: str) -> list[tuple[TaskSpec, Mapping[str, Dataset]]]:
    """A stream as a list; a `TypeError` for what holds no pairs."""
    several = isinstance(given, Iterable) and not isinstance(given, Mapping)
    pairs = list(given) if several else [given]
    wrong = [type(pair).__name__ for pair in pairs if not _is_pair(pair)]
    if wrong or not several:
        raise TypeError(
            f"{name} holds {', '.join(wrong[:3])}; give a list of pairs of a TaskSpec and its splits: "
            "[(spec, {'train': ..., 'validation': ..., 'test': ...}), ...]."
        )
    return [(spec, {split: rows for split, rows in data.items() if rows is not None}) for spec, data in pairs]


def _is_pair(pair: Any) -> bool:
    pair = pair if isinstance(pair, (tuple, list)) else ()
    return len(pair) == 2 and isinstance(pair[0], TaskSpec) and isinstance(pair[1], Mapping)


def check_stream(tasks: Stream, quiet: bool) -> None:
    """Raise a `ValueError` for names that are not each there once, missing splits, and the faults of all rows."""
    names = [spec.name for spec, _ in tasks]
    if not names:
        raise ValueError("The stream is empty; give at least one pair of a TaskSpec and its splits.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"The tasks are {names}; each is learned once, so {twice} need other names.")
    for spec, data in tasks:
        _check_splits(spec, data, quiet)


def _check_splits(spec: TaskSpec, data: Mapping[str, Dataset], quiet: bool) -> None:
    missing = [split for split in NEEDED if split not in data]
    if missing:
        raise ValueError(
            f"Task '{spec.name}' lacks the split(s) {missing}; it has {list(data)}. Give {', '.join(NEEDED)} and, to "
            "choose the best state by, validation."
        )
    look_at(spec, {split: data[split] for split in SPLITS if split in data}, quiet=quiet)
