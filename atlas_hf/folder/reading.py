"""How much of a file is read: limits in bytes, entries and nesting that hold before anything of it is parsed.

Whoever has a folder may have written its files, and a few bytes can ask for hours or for all memory: a file with a
hole of 40 GB, millions of empty lists, a thousand brackets. `LIMITS` is the one table of what is read; our own
largest files stay far below. All 1,000 tasks of an `atlas.json` reusing one another take 12 MB and 500,000 entries;
200 tasks of 24 sites that reuse one another 22 MB and 500,000 entries of `results.json`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from atlas_hf.folder.files import RESULTS, START, WEIGHTS, AtlasFormatError

_MB = 2**20
_BLOCK = _MB


@dataclass(frozen=True)
class Limit:
    """The most that is read of a file: its bytes; of JSON the lists, objects and values in all, and the nesting."""

    bytes: int
    entries: int = 10**6
    depth: int = 32


# What is read of a file by its name; `HEADER` is of safetensors' headers, with some eight entries for each tensor.
ANY_JSON = Limit(16 * _MB)
HEADER, BACKBONE_HEADER = Limit(4 * _MB, 100_000), Limit(16 * _MB, 400_000)
ANY_FILE = Limit(128 * _MB)  # vocabularies and templates beside a backbone
LIMITS = {
    RESULTS: Limit(24 * _MB),
    WEIGHTS: Limit(2048 * _MB),
    START: Limit(2048 * _MB),
    "tokenizer.json": Limit(128 * _MB, 8 * 10**6),
    "trainer_state.json": Limit(128 * _MB, 8 * 10**6),
}


def limit_of(path: Path) -> Limit:
    """What is read of a file of this name."""
    return LIMITS.get(path.name, ANY_JSON if path.suffix == ".json" else ANY_FILE)


def check_size(path: Path, limit: int | None = None) -> int:
    """The size of a plain file, at most `limit` bytes (None: of its name). Raises `AtlasFormatError`."""
    limit = limit_of(path).bytes if limit is None else limit
    try:
        if not path.exists():
            raise AtlasFormatError(f"There is no {path.name} in {path.parent}. Is this a folder of atlas_hf?")
        if not path.is_file():  # a device or a pipe has no size and no end
            raise AtlasFormatError(f"{path} is no plain file. Restore the file.")
        size = path.stat().st_size
    except OSError as error:
        _unreadable(path, error)
    check_bytes(str(path), size, limit)
    return size


def check_bytes(what: str, size: int, limit: int) -> None:
    """Raise an `AtlasFormatError` if a size is over the limit."""
    if size > limit:
        raise AtlasFormatError(f"{what} has {size:,} bytes; more than {limit:,} are not read.")


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a plain file, at most `limit` of them (None: of its name). Raises `AtlasFormatError`."""
    limit = limit_of(path).bytes if limit is None else limit
    size = check_size(path, limit)
    try:
        with path.open("rb") as file:
            content = file.read(size + 1)
    except OSError as error:
        _unreadable(path, error)
    if len(content) > size:
        raise AtlasFormatError(f"{path} grew while it was read. Try again when nothing else writes to it.")
    return content


def _unreadable(path: Path, error: OSError) -> NoReturn:
    raise AtlasFormatError(f"{path} cannot be read: {error.strerror}. Restore the file.") from error


def check_json(path: Path) -> bytes:
    """The bytes of a JSON file that somebody else parses, within the limits of its name. Raises `AtlasFormatError`."""
    content = read_bytes(path)
    check_structure(str(path), content, limit_of(path))
    return content


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, with an error that names the file."""
    content = check_json(path)
    try:
        values = json.loads(content.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or an integer of 5,000 digits
        raise AtlasFormatError(f"{path} is not JSON: {error}. Restore the file.") from error
    if not isinstance(values, dict):
        raise AtlasFormatError(f"{path} holds a {type(values).__name__}, not an object. Restore the file.")
    return values


def brief(error: Exception) -> str:
    """What an error says, without the whole of a value that it may quote."""
    text = str(error)
    return text if len(text) <= 1000 else f"{text[:1000]} ..."


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def check_structure(what: str, text: bytes, limit: Limit) -> None:
    """Raise an `AtlasFormatError` for more entries or deeper nesting than the limit; nothing is parsed for that.

    Reads some 200 MB in a second. What is no JSON at all passes: a parser stops at its first wrong letter.
    """
    entries = depth = 0
    for steps in _steps(text):
        entries += int((steps >= 0).sum())
        if entries > limit.entries:
            raise AtlasFormatError(f"{what} is not JSON of atlas_hf: more than {limit.entries:,} entries.")
        nesting = depth + np.cumsum(steps, dtype=np.int64)
        if len(nesting) and nesting.max() > limit.depth:
            raise AtlasFormatError(f"{what} is not JSON of atlas_hf: nested more than {limit.depth} deep.")
        depth = int(nesting[-1]) if len(nesting) else depth


def _steps(text: bytes) -> Iterator[np.ndarray]:
    """By blocks, what stands outside of strings: 1 where a list or object opens, -1 where it ends, 0 for a comma."""
    kinds = np.full(256, 2, np.int8)
    for letters, kind in ((b"[{", 1), (b"]}", -1), (b",", 0)):
        kinds[list(letters)] = kind
    text = text.replace(b"\\\\", b"").replace(b'\\"', b"")  # now a quote begins or ends a string
    inside = 0
    for start in range(0, len(text), _BLOCK):
        block = np.frombuffer(text, np.uint8, min(_BLOCK, len(text) - start), start)
        quoted = np.bitwise_xor.accumulate(block == ord('"')) ^ bool(inside)
        inside = quoted[-1]
        found = kinds[block[~quoted]]
        yield found[found < 2]
