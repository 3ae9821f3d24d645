"""Cells: what a method did on an order of a stream with a seed, `<output>/cells/<method>/<order>/seed-<seed>.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from reprlib import repr as short
from typing import Any, TypedDict

from atlas_hf.folder import UPSTREAM, check_types, read_json, refuse_links, write_json

SCHEMA = 1
ANY_ORDER, FULL = "any", "full"


class CellError(ValueError):
    """A file is not a cell, or not one of this benchmark."""


class CellTask(TypedDict):
    """An upstream or downstream task of a cell, of its `TaskSpec` what a report needs."""

    name: str
    metric: str
    random_baseline: float
    modality: str
    role: str


class Described(TypedDict):
    """What `representation.describe` says of features, as far as a report shows it."""

    effective_rank: float | None
    dispersion: float | None
    spectrum: list[float] | None


class State(Described, total=False):
    """By task the same figures, and of one seed the rows in the plane."""

    tasks: dict[str, dict[str, float | None]]
    points: dict[str, list[list[float]]]


class Representation(TypedDict):
    """See `representation.compare`."""

    before: State
    after: State


class Learned(TypedDict):
    """What a task came to be when it was learned from so many examples."""

    sources: list[str] | None  # the earlier tasks at whose models it began; None for a method that begins at none
    parameters: int  # that it added
    seconds: float


class Settings(TypedDict):
    """Those of `Plan.settings` that a report shows; the others are compared only."""

    sizes: dict[str, Any]
    low_shot: list[str]


@dataclass(frozen=True, order=True)
class Key:
    """Which cell: `str(key)` is also its place below `cells/`."""

    method: str
    order: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}/{self.order}/seed-{self.seed}"

    def path(self, output: Path) -> Path:
        """Its file in the folder of a benchmark."""
        return output / "cells" / f"{self}.json"


@dataclass(frozen=True)
class Cell:
    """A measured cell: the fields of the file, for T upstream tasks. What was not measured is None."""

    method: str  # a key of `benchmark.methods.METHODS`
    order: str  # of the stream, or "any" for a method whose tasks know nothing of one another
    seed: int  # of training and of the draw of the low-shot examples; the full data are the same for every seed
    stream: str
    settings: Settings  # `Plan.settings`, equal in all cells of a folder
    tasks: Sequence[CellTask]  # in the order of learning, upstream first
    # T x T: row i, column j is the score in [0, 1] on task j after learning task i. Order "any": the diagonal only,
    # or, where all tasks are learned together, the last row only.
    matrix: Sequence[Sequence[float | None]]
    # task -> size -> score: the task learned from so many examples, after all upstream tasks before it (a downstream
    # task: after all of them). Upstream tasks at full size are the matrix's diagonal.
    low_shot: Mapping[str, Mapping[str, float]]
    # After the upstream tasks: `trained` by the last of them, `stored` beside the bare backbone for all.
    parameters: Mapping[str, int]
    # Of the upstream tasks at full size: `train_seconds`, `eval_seconds`, `samples_per_second`, `steps`. Of the whole
    # process: `peak_memory_bytes` (resident, libraries and data included), `cell_seconds` (with low-shot copies).
    cost: Mapping[str, float]
    representation: Representation | None
    coefficients: Mapping[str, Mapping[str, float]] | None  # upstream task -> adapter -> its mean coefficient there
    environment: Mapping[str, Any]  # versions and machine
    schema: int = SCHEMA
    # task -> size, "full" too for upstream tasks -> how it was learned; empty in cells of older versions
    learned: Mapping[str, Mapping[str, Learned]] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Which cell it is."""
        return Key(self.method, self.order, self.seed)

    @property
    def sizes(self) -> list[str]:
        """The low-shot sizes, smallest first, and always the full one."""
        return [*sorted({*self.settings["low_shot"]} - {FULL}, key=int), FULL]

    def names(self, role: str) -> list[str]:
        """The tasks of a role, in the order of learning."""
        return [task["name"] for task in self.tasks if task["role"] == role]

    def score(self, task: str, size: str) -> float | None:
        """The score of a task that was learned from so many examples; None if it was not measured."""
        upstream = self.names(UPSTREAM)
        if size == FULL and task in upstream:
            return self.matrix[upstream.index(task)][upstream.index(task)]
        return self.low_shot.get(task, {}).get(size)

    def write(self, output: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(self.key.path(output), asdict(self))

    @classmethod
    def read(cls, path: Path) -> Cell:
        """Read and check a file. Raises `CellError` with what is wrong and what to do."""
        values = read_json(path)
        if (given := values.get("schema")) != SCHEMA:
            raise CellError(
                f"{path} has schema {short(given)}; this version of atlas_hf reads {SCHEMA}. Measure it again."
            )
        known = {field.name for field in fields(cls)}
        missing, unknown = sorted(known - set(values) - {"learned"}), sorted(set(values) - known)
        if missing or unknown:
            raise CellError(f"{path} lacks {missing} and has unknown {unknown}. Delete it to measure it again.")
        cell = cls(**values)
        listed = isinstance(cell.tasks, list) and all(isinstance(task, dict) for task in cell.tasks)
        if listed and not all(set(task) >= CellTask.__required_keys__ for task in cell.tasks):
            names = sorted(CellTask.__required_keys__)
            raise CellError(f"{path}: a task lacks one of {names}. Delete it to measure it again.")
        check_types(cell, str(path))
        if path.parts[-3:] != cell.key.path(Path()).parts[-3:]:
            raise CellError(f"{path} says that it is {cell.key}. Move it to its place, or delete it.")
        if not all(size == FULL or (size.isdecimal() and len(size) < 10) for size in cell.settings["low_shot"]):
            raise CellError(f"{path}: low_shot is {short(cell.settings['low_shot'])}. Delete it to measure it again.")
        size = len(cell.names(UPSTREAM))
        if [len(row) for row in cell.matrix] != [size] * size:
            raise CellError(f"{path}: the matrix of {size} upstream tasks is not {size} x {size}. Delete the file.")
        return cell


def read_cells(output: Path) -> list[Cell]:
    """All cells of a folder, sorted by method, order and seed; a `CellError` if there are none, or settings differ."""
    paths = sorted((output / "cells").glob("*/*/*.json"))
    for path in paths:
        refuse_links(path, output)
    cells = [Cell.read(path) for path in paths]
    if not cells:
        raise CellError(f"There are no cells in {output / 'cells'}. Measure some with `atlas-hf benchmark`.")
    for cell in cells[1:]:
        check_settings(cell, cells[0].stream, cells[0].settings, output)
    return sorted(cells, key=lambda cell: cell.key)


def check_settings(cell: Cell, stream: str, settings: Mapping[str, Any], output: Path) -> None:
    """Raise a `CellError` that names what differs."""
    asked, found = {"stream": stream, **settings}, {"stream": cell.stream, **cell.settings}
    names = [name for name in asked | found if asked.get(name) != found.get(name)]
    if names:
        was = "; ".join(f"{name} is {found.get(name)!r}, not {asked.get(name)!r}" for name in names)
        raise CellError(f"{cell.key.path(output)} was measured otherwise: {was}. Use another folder.")
