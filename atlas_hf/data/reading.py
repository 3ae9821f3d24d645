"""The splits of a user's data: of a folder with tables, in a layout that `datasets` reads, or of a Hub id."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from datasets import Dataset, DatasetDict, Image, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub.errors import HFValidationError

SPLITS = ("train", "validation", "test")
METADATA = "metadata.csv"  # marks the `imagefolder` layout of `datasets`
FIRST = 100  # rows that show whether a column names files
Data: TypeAlias = str | Path | Dataset | DatasetDict


def read_splits(data: Data, image_columns: Sequence[str] = (), text_columns: Sequence[str] = ()) -> dict[str, Dataset]:
    """The splits as they are given; a `ValueError` for other names than `SPLITS`, or for what cannot be read.

    Args:
        image_columns: columns of a table that hold paths of images; by default those that name files.
        text_columns: columns of a table that are texts even where they look like numbers.
    """
    if isinstance(data, Dataset):
        data = DatasetDict(train=data)
    if not isinstance(data, DatasetDict):
        data = _read(str(data), image_columns, text_columns)
    if "train" not in data or not set(data) <= set(SPLITS):
        raise ValueError(f"The data have the splits {list(data)}; possible are {list(SPLITS)}, and train is needed.")
    empty = [split for split, rows in data.items() if len(rows) == 0]
    if empty:
        raise ValueError(f"The split {', '.join(map(repr, empty))} holds no rows; give at least one.")
    return {split: rows if rows.format["type"] == "custom" else rows.with_format(None) for split, rows in data.items()}


def check_columns(rows: Dataset, columns: Sequence[str]) -> None:
    """Raise a `ValueError` for columns that are not there, with those that are."""
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        found = ", ".join(map(repr, rows.column_names))
        raise ValueError(f"There is no column {', '.join(map(repr, missing))}; found were {found}.")


def _read(place: str, images: Sequence[str], texts: Sequence[str]) -> Mapping[str, Dataset]:
    folder = Path(place)
    tables = sorted(folder.glob("*.csv"))
    try:
        if not tables or (folder / METADATA).is_file():
            return load_dataset(place)
        named = {table.stem: table for table in tables}
        named = named if "train" in named else {"train": tables[0]} if len(tables) == 1 else named
        files = {split: str(table) for split, table in named.items()}
        rows = load_dataset("csv", data_files=files, converters=dict.fromkeys(texts, _cell) or None)
    except HFValidationError as error:
        raise ValueError(f"There is no folder {place!r}, and it is no data set's id ('owner/name').") from error
    except (DatasetNotFoundError, FileNotFoundError) as error:
        raise ValueError(f"There are no data in {place!r}: {error} Give a folder, or the id of a data set.") from error
    except ValueError as error:
        raise ValueError(f"There is nothing to read in {place!r}: {error} Give files with rows.") from error
    except DatasetGenerationError as error:
        raise ValueError(
            f"The data in {place!r} cannot be read as a table: {_cause(error)} Give a CSV in UTF-8, separated by "
            "commas, with as many cells in every row, and with the same columns of the same kinds in every split; a "
            "column of texts that look like numbers must be named as a text column."
        ) from error
    return {split: _with_images(rows[split], folder, images) for split in named}


def _cell(text: str) -> str | None:
    return text or None


def _cause(error: BaseException) -> str:
    """The first lines of what lies at the ground of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0].rstrip('.')}."


def _with_images(rows: Dataset, folder: Path, columns: Sequence[str]) -> Dataset:
    """Paths of a table as images: of these columns, or of those that name a file in one of their first rows.

    They are opened when a row is read; that each is there, and can be read, is for `look_at`.
    """
    check_columns(rows, columns)
    for column in columns or [name for name in rows.column_names if _names_files(rows[:FIRST][name], folder)]:
        paths = [None if path is None else str(folder / str(path)) for path in rows[column]]
        files = rows.remove_columns(column).add_column(column, paths).cast_column(column, Image())
        rows = files.select_columns(rows.column_names)
    return rows


def _names_files(values: Sequence[object], folder: Path) -> bool:
    texts = [value for value in values if isinstance(value, str) and 0 < len(value) < 256 and "\0" not in value]
    return any((folder / text).is_file() for text in texts)
