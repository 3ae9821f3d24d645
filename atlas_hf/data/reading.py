"""The splits of a user's data: of a file, a folder with tables, a layout that `datasets` reads, or of a Hub id."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from datasets import (
    Dataset,
    DatasetDict,
    Image,
    Value,
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    load_dataset,
)
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub.errors import HFValidationError

SPLITS = ("train", "validation", "test")
METADATA = "metadata.csv"  # marks the `imagefolder` layout of `datasets`
FIRST = 100  # rows that show whether a column names files
LARGE = 2**26  # bytes of tables that take seconds to read
# By the end of a file's name: the loader of `datasets`, and its options.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".csv": ("csv", {}), ".tsv": ("csv", {"sep": "\t"}), ".jsonl": ("json", {}), ".ndjson": ("json", {}),
    ".json": ("json", {}), ".parquet": ("parquet", {}),
}  # fmt: skip
REMEDIES = {
    "csv": (
        "Give a CSV in UTF-8, separated by commas, with as many cells in every row, and with the same columns of the "
        "same kinds in every split; a column of texts that look like numbers must be named as a text column."
    ),
    "json": "Give one JSON object in every line, all with the same keys, in UTF-8.",
    "parquet": "Write the Parquet file anew.",
}
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


def check_place(place: str | Path) -> None:
    """Raise a `ValueError` for a file that is not there (with those called alike), is empty, or of no kind of table.

    What is neither here nor called like a file, or like a table that is here, may be a data set on the Hub, and is not
    looked at.
    """
    path, alone = Path(place), "/" not in str(place)
    if path.is_dir():
        return
    if not path.is_file():
        tables = [found for found in Path().iterdir() if alone and found.suffix.lower() in FORMATS]
        named = path.suffix and (alone or path.suffix.lower() in FORMATS)
        if named or path.name in {table.stem for table in tables}:
            raise ValueError(f"There is no file {str(place)!r}. {_called_alike(path)}")
    else:
        format_of(path)
        if path.stat().st_size == 0:
            raise ValueError(f"The file {place} is empty; give one with a row of column names and rows below it.")


def format_of(path: Path) -> tuple[str, dict[str, Any]]:
    """The loader of `datasets` for a file, and its options; a `ValueError` for a kind that is not read."""
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise ValueError(
            f"{path} is no table that is read; possible are {', '.join(FORMATS)}. Save it as one of them."
        )
    return found


def _called_alike(path: Path) -> str:
    """What is in the folder of a file that is not there: those called alike, or else the first tables."""
    folder = path.parent
    if not folder.is_dir():
        return f"There is no folder {str(folder)!r} either. Give a file that is there."
    tables = sorted(found.name for found in folder.iterdir() if found.suffix.lower() in FORMATS)
    near = get_close_matches(path.stem, [Path(name).stem for name in tables])
    if near:
        alike = [repr(str(folder / name)) for name in tables if Path(name).stem in near]
        return f"Did you mean {' or '.join(alike)}?"
    where = "this folder" if str(folder) == "." else repr(str(folder))
    return f"In {where} there is {', '.join(map(repr, tables[:5])) or 'no table'}. Give a file that is there."


def read_table(path: Path) -> Dataset:
    """The rows of one file as they stand there: every cell of a CSV is a string, as nothing says what it means."""
    check_place(path)
    kind, options = format_of(path)
    if kind == "csv":
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            header = next(csv.reader(file, delimiter=options.get("sep", ",")), [])
        options = options | {"converters": dict.fromkeys(header, str), "keep_default_na": False}
    with _saying_what_cannot_be_read(str(path)), quietly([path]):
        return load_dataset(kind, data_files=str(path), split="train", **options)


def _read(place: str, images: Sequence[str], texts: Sequence[str]) -> Mapping[str, Dataset]:
    check_place(place)
    found, folder = Path(place), Path(place)
    with _saying_what_cannot_be_read(place):
        if found.is_file():
            folder = found.parent
            kind, options = format_of(found)
            named = {"train": found}
        else:
            kind, options = "csv", {}
            tables = sorted(folder.glob("*.csv"))
            if not tables or (folder / METADATA).is_file():
                return load_dataset(place)
            named = {table.stem: table for table in tables}
            named = named if "train" in named else {"train": tables[0]} if len(tables) == 1 else named
        if kind == "csv" and texts:
            options = options | {"converters": dict.fromkeys(texts, _cell)}
        with quietly(named.values()):
            rows = load_dataset(kind, data_files={split: str(table) for split, table in named.items()}, **options)
    return {split: with_images(rows[split], folder, images) for split in named}


@contextmanager
def quietly(files: Iterable[Path]) -> Iterator[None]:
    """No progress bars of `datasets` for files that take a moment."""
    hidden = not are_progress_bars_disabled() and sum(file.stat().st_size for file in files) < LARGE
    if hidden:
        disable_progress_bars()
    try:
        yield
    finally:
        if hidden:
            enable_progress_bars()


@contextmanager
def _saying_what_cannot_be_read(place: str) -> Iterator[None]:
    """A `ValueError` of a sentence for what `datasets` says of data that it cannot read."""
    try:
        yield
    except HFValidationError as error:
        raise ValueError(f"There is no folder {place!r}, and it is no data set's id ('owner/name').") from error
    except (DatasetNotFoundError, FileNotFoundError) as error:
        raise ValueError(f"There are no data in {place!r}: {error} Give a folder, or the id of a data set.") from error
    except ValueError as error:
        raise ValueError(f"There is nothing to read in {place!r}: {error} Give files with rows.") from error
    except DatasetGenerationError as error:
        kind, _ = FORMATS.get(Path(place).suffix.lower(), ("csv", {}))
        raise ValueError(
            f"The data in {place!r} cannot be read as a table: {_cause(error)} {REMEDIES[kind]}"
        ) from error


def _cell(text: str) -> str | None:
    return text or None


def _cause(error: BaseException) -> str:
    """The first lines of what lies at the ground of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0].rstrip('.')}."


def with_images(rows: Dataset, folder: Path, columns: Sequence[str]) -> Dataset:
    """Paths of a table as images: of these columns, or of those that name a file in one of their first rows.

    They are opened when a row is read; that each is there, and can be read, is for `look_at`. Columns that hold
    something else than strings stay: they are images already, or no paths.
    """
    check_columns(rows, columns)
    words = [name for name, feature in rows.features.items() if isinstance(feature, Value)]
    first = rows.select_columns(words)[:FIRST]
    for column in [*columns] or [name for name in words if _names_files(first[name], folder)]:
        if column not in words:
            continue
        paths = [None if path is None else str(folder / str(path)) for path in rows[column]]
        files = rows.remove_columns(column).add_column(column, paths).cast_column(column, Image())
        rows = files.select_columns(rows.column_names)
    return rows


def _names_files(values: Sequence[object], folder: Path) -> bool:
    texts = [value for value in values if isinstance(value, str) and 0 < len(value) < 256 and "\0" not in value]
    return any((folder / text).is_file() for text in texts)
