"""`atlas-hf predict --input TABLE`: an answer for every row of a table, printed or written to another one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset, Image
from datasets.utils import tqdm

from atlas_hf.data.faults import input_faults
from atlas_hf.data.reading import FORMATS, check_columns, format_of, quietly, read_table
from atlas_hf.folder import creating
from atlas_hf.tasks import TaskSpec

if TYPE_CHECKING:
    from atlas_hf.model import AtlasModel

logger = logging.getLogger(__name__)

BATCH = 256  # rows that are asked about at a time: images may be large
ADDED = ("answer", "score")
DIGITS = 6  # of a score, after the point
SHOWN = 3  # faults of one message


def read_rows(spec: TaskSpec, source: Path, target: Path | None) -> Dataset:
    """The rows to answer, checked.

    Raises a `ValueError` for a table that cannot be read, or one that lacks a column that the task reads, has one that
    the answers need, or has rows that cannot be read; and for a kind of `target` that cannot hold them.
    """
    if target:
        format_of(target)
    rows = read_table(source)
    check_columns(rows, _read_columns(spec))
    if taken := [name for name in ADDED if name in rows.column_names]:
        raise ValueError(f"{source} has a column {taken[0]!r} already, which the answers are written to. Rename it.")
    images = [name for name, feature in rows.features.items() if isinstance(feature, Image)]
    if images and (target is None or target.suffix.lower() != ".parquet"):
        cannot = f"{target} cannot" if target else "cannot be printed"
        raise ValueError(f"{source} holds images in {images[0]!r}, which {cannot}. Give an --output .parquet.")
    faults = [f"row {i} {fault}" for i, row in enumerate(rows) for fault in _faults(spec, row, source.parent)]
    if faults:
        more = f" (and {len(faults) - SHOWN} more)" if len(faults) > SHOWN else ""
        raise ValueError(f"{source}, rows from 0: {' '.join(faults[:SHOWN])}{more}")
    if empty := sorted({i for column in spec.text_columns for i, text in enumerate(rows[column]) if text == ""}):
        told = "%s: %d rows hold an empty text, and are answered all the same; row %d is one."
        logger.warning(told, source, len(empty), empty[0])
    return rows


def answer_rows(model: AtlasModel, task: str, rows: Dataset, folder: Path, target: Path | None) -> None:
    """Write the columns of `rows` as they are, and the best answer to each with its score; or print them as CSV.

    `folder` is what paths of images are relative to. Raises a `FileExistsError` if `target` is there.
    """
    spec, answers, scores = model.specs[task], list[Any](), list[float]()
    with (
        creating(target) if target else nullcontext() as temporary,
        tqdm(total=len(rows), desc=task, unit=" rows", delay=2) as bar,
    ):
        for start in range(0, len(rows), BATCH):
            given = rows.select(range(start, min(start + BATCH, len(rows)))).to_list()
            best = [ranked[0] for ranked in model.predict(task, **_inputs(spec, given, folder), top_k=1)]
            scores += [round(one["score"], DIGITS) for one in best]
            answers += scores[start:] if spec.problem_type == "regression" else [one["label"] for one in best]
            bar.update(len(given))
        with quietly([]):
            rows = rows.add_column("answer", answers).add_column("score", scores)
            if target and temporary:
                _write(rows, target.suffix.lower(), temporary)
    if target is None:
        print(rows.to_pandas().to_csv(index=False), end="")


def _read_columns(spec: TaskSpec) -> list[str]:
    return [*spec.image_columns, *spec.text_columns, *filter(None, (spec.choices_column, spec.audio_column))]


def _faults(spec: TaskSpec, row: dict[str, Any], folder: Path) -> Iterator[str]:
    yield from input_faults(spec, row)
    for column in spec.image_columns:
        value = row[column]
        if not value:
            yield f"has no image in '{column}'. Give one, or leave the row out."
        elif isinstance(value, str) and not (folder / value).is_file():
            yield f"has an image in '{column}' that is not there: no file {folder / value}."


def _inputs(spec: TaskSpec, rows: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Arguments of `predict`: a list for each input that the task takes; of several columns, tuples."""
    read = {"images": spec.image_columns, "texts": spec.text_columns}
    inputs: dict[str, Any] = {}
    for name, columns in read.items():
        found = [tuple(_opened(row[column], folder, name) for column in columns) for row in rows]
        inputs |= {name: [one[0] if len(columns) == 1 else one for one in found]} if columns else {}
    for name, column in {"choices": spec.choices_column, "audio": spec.audio_column}.items():
        inputs |= {name: [row[column] for row in rows]} if column else {}
    return inputs


def _opened(value: Any, folder: Path, name: str) -> Any:
    return str(folder / value) if name == "images" and isinstance(value, str) else value


def _write(rows: Dataset, suffix: str, temporary: Path) -> None:
    kind, options = FORMATS[suffix]
    if kind == "csv":
        rows.to_csv(temporary, **options)
    elif kind == "json":
        rows.to_json(temporary, force_ascii=False)
    else:
        rows.to_parquet(temporary)
