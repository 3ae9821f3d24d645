"""A batch of several tasks: which rows belong to which, and back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby
from typing import Any

import torch
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from atlas_hf.tuner.config import BASE


class Mixture:
    """The examples and rows of each task in a batch, whose `tasks` are those of its examples, in order.

    Attributes:
        examples: positions of the examples of each task, by task.
        rows: positions of their rows, likewise.
        order: positions of all rows, those of a task side by side.
    """

    def __init__(self, tasks: Sequence[str], rows_per_example: Mapping[str, int]) -> None:
        self.examples: dict[str, list[int]] = {}
        self.rows: dict[str, list[int]] = {}
        end = 0
        for position, task in enumerate(tasks):
            start, end = end, end + rows_per_example[task]
            self.examples.setdefault(task, []).append(position)
            self.rows.setdefault(task, []).extend(range(start, end))
        self.order = torch.tensor([row for rows in self.rows.values() for row in rows])

    @property
    def runs(self) -> tuple[tuple[str, int], ...]:
        """Task and number of rows, in the order of `order`."""
        return tuple((task, len(rows)) for task, rows in self.rows.items())

    @property
    def count(self) -> int:
        """How many examples the batch has."""
        return sum(map(len, self.examples.values()))

    @property
    def size(self) -> int:
        """How many rows the batch has."""
        return len(self.order)

    def ordered(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs with their rows in the order of `order`."""
        return {
            name: value[self.order.to(value.device)] if isinstance(value, Tensor) and value.dim() else value
            for name, value in inputs.items()
        }

    def restored(self, ordered: Tensor) -> Tensor:
        """Rows in the order of `order`, back in the order in which they were given."""
        return ordered[self.order.argsort().to(ordered.device)]


def runs_of(names: Sequence[str], known: Sequence[str], inputs: Iterable[Any]) -> tuple[tuple[str, int], ...]:
    """PEFT's `adapter_names`, one per row of the inputs, as runs of task and number of rows.

    Raises:
        ValueError: in PEFT's words: there is no such adapter, or another number of rows.
    """
    possible = f"{', '.join(name for name in known if name != BASE)}, or '{BASE}' for none"
    if isinstance(names, str) or not names:
        raise ValueError(f"adapter_names is {names!r}; give a list with a name for each row: {possible}.")
    unknown = sorted({str(name) for name in names} - set(known))
    if unknown:
        raise ValueError(
            f"Trying to infer with non-existing adapter(s): {', '.join(unknown)}. "
            f"Give a name for each row: {possible}."
        )
    rows = {len(value) for value in inputs if isinstance(value, Tensor) and value.dim()}
    if rows and len(names) not in rows:
        raise ValueError(
            "Length of `adapter_names` should be the same as the number of inputs, but got "
            f"{len(names)} and {', '.join(map(str, sorted(rows)))} respectively. Give a name for each row: {possible}."
        )
    return tuple((name, len(list(rows))) for name, rows in groupby(names))


@contextmanager
def mixed_copies(model: nn.Module, names: Sequence[str] | None) -> Iterator[None]:
    """Within the block, PEFT's copies of other modules (`modules_to_save`) take each row to its adapter's, too."""
    with ExitStack() as hooks:
        for module in model.modules() if names is not None else ():
            if isinstance(module, AuxiliaryTrainingWrapper):
                hook = partial(_name_rows, names)
                hooks.enter_context(module.register_forward_pre_hook(hook, with_kwargs=True))
        yield


def _name_rows(
    names: Sequence[str] | None, _: nn.Module, args: Any, kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    return args, kwargs | {"adapter_names": names}
