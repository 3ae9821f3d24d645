"""Values out of a stranger's JSON file, made safe to print in Markdown.

A string is cleaned of local paths and tokens and written so that it means nothing in Markdown or HTML (`md`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from atlas_hf.metrics.matrix import LIMIT

MAX_TEXT = 400
_TOKEN = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}")
_PATH = re.compile(
    r"""(?:file:/+|(?<![\w.])\.{1,2}[/\\]|(?<!\w)~[\w.-]*[/\\]|(?<![\w/.])/(?=[\w.~-]+/)|(?<!\w)[A-Za-z]:[/\\]|\\\\)"""
    r"""[^\s"'<>|,;)]*"""
)
# An underscore inside a word means nothing in Markdown, and names of settings are full of them.
_SPECIAL = re.compile(r"[&<>|\\`*\[\]{}#~$!@^]|(?<![^\W_])_|_(?![^\W_])")


def real(value: Any) -> float | None:
    """A finite number, or None."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LIMIT else None


def number(value: Any, form: str = ".4f") -> str:
    """A number in a format, an en dash for what is none."""
    return "–" if real(value) is None else format(value, form)


def public(text: str) -> str:
    """Without what only the author's machine should know."""
    return _TOKEN.sub("(token)", _PATH.sub("(local path)", text))


def md(value: Any) -> str:
    """Any text as one line of plain text in Markdown, also inside a table, without local paths or tokens."""
    text = public(" ".join("".join(c if c.isprintable() else " " for c in str(value)).split()))
    text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", text)


def facts(values: Any, leave_out: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The plain values of an object, ready to print; what is not set, or has an inner structure, is left out."""
    return [
        (md(name), md(value))
        for name, value in mapping(values).items()
        if isinstance(value, (str, bool, int, float)) and name not in leave_out
    ]


def mapping(value: Any) -> Mapping[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, Mapping) else {}
