"""Nouns of WordNet (Fellbaum 1998) with their definitions: its file `data.noun`, where a user's system has it.

WordNet's own license lets everybody use, copy and change it. Format of the file: its manual page wndb(5).
"""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

# Where its programs and systems keep it: the first two are variables that its own programs read.
VARIABLES = {"WNSEARCHDIR": "", "WNHOME": "dict"}
FOLDERS = ("/usr/share/wordnet", "/usr/local/share/wordnet", "/usr/local/WordNet-3.0/dict")
NAME, SHA256 = "data.noun", "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2"  # WordNet 3.0
LIMIT = 64 * 2**20  # bytes

# The twelve largest of its 26 classes of nouns, by the number of their file.
CLASSES = {
    "04": "act", "05": "animal", "06": "artifact", "07": "attribute", "09": "cognition", "10": "communication",
    "14": "group", "15": "location", "18": "person", "20": "plant", "26": "state", "27": "substance",
}  # fmt: skip
LABELS = tuple(CLASSES.values())


@dataclass(frozen=True)
class Noun:
    """A meaning: the words that have it, its definition without examples, and its class in `LABELS`."""

    words: tuple[str, ...]
    gloss: str
    label: int


def nouns() -> tuple[Noun, ...]:
    """The meanings in the twelve classes whose definition no other has. Raises a `ValueError` without WordNet."""
    return _read(_find())


def _find() -> Path:
    given = [Path(os.environ[name]) / inner for name, inner in VARIABLES.items() if os.environ.get(name)]
    for folder in [*given, *map(Path, FOLDERS)]:
        if (folder / NAME).is_file():
            return folder / NAME
    raise ValueError(
        f"WordNet's {NAME} is in none of {', '.join(map(str, [*given, *FOLDERS]))}. Install it (Debian and Ubuntu: "
        "apt install wordnet-base; macOS: brew install wordnet), or let WNSEARCHDIR name the folder that holds it."
    )


@cache
def _read(path: Path) -> tuple[Noun, ...]:
    if (size := path.stat().st_size) > LIMIT:
        raise ValueError(f"{path} has {size:,} bytes; at most {LIMIT:,} are read. Is it WordNet's?")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        logger.warning("%s is not that of WordNet 3.0: figures will differ from those of other machines.", path)
    try:
        found = list(_parse(content.decode()))
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} is no {NAME} of WordNet: {error}") from error
    often = Counter(noun.gloss for noun in found)
    return tuple(noun for noun in found if often[noun.gloss] == 1)


def _parse(text: str) -> Iterator[Noun]:
    """Lines `offset file n count word id ... | gloss`; those of the license begin with a blank."""
    for line in text.splitlines():
        if line.startswith(" "):
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split(" ")
        if fields[1] in CLASSES:
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            definition = gloss.split('; "')[0].strip()
            yield Noun(tuple(word.replace("_", " ") for word in words), definition, LABELS.index(CLASSES[fields[1]]))
