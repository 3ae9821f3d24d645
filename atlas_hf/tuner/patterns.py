"""Names and regexes of sites, which may come from a file that nobody vouches for: checked to come to an end.

PEFT matches them with `re`, which knows no time limit and cannot be replaced there: a match of our own by RE2, or by
`regex` with its timeout, would bound nothing. So the effort is estimated from the pattern, before PEFT sees it.
"""

from __future__ import annotations

import math
import re
from reprlib import repr as short
from typing import Any

MAX_LETTERS, MAX_NAMES = 200, 1000
MAX_WAYS = 10**6
_PATH = 80  # letters of a module's path


def check_patterns(field: str, value: Any) -> None:
    """Raise a `ValueError` for anything but None, a regex, or a list of names, each of bounded effort."""
    if value is None:
        return
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, (list, set, tuple)) or len(patterns) > MAX_NAMES:
        raise ValueError(f"{field} is {short(value)}; give a list of at most {MAX_NAMES} names, or a simple regex.")
    for pattern in patterns:
        if not isinstance(pattern, str) or len(pattern) > MAX_LETTERS or ways(pattern) > MAX_WAYS:
            raise ValueError(
                f"{field} has {short(pattern)}, which may take for ever to match; give names, or a simple regex: at "
                f"most {MAX_LETTERS} letters, two or three `*` or `+`, and none of them after a bracket."
            )


def ways(pattern: str) -> float:
    """At most how many ways there are to try a regex on a module's path; infinity for what is no regex."""
    try:
        re.compile(pattern)
    except re.error:
        return math.inf
    plain = re.sub(r"\\.|\[\^?.[^\]]*\]", "x", pattern)  # an escape or a set is one letter
    plain = re.sub(r"\(\?[:=!]", "(", plain)
    if re.search(r"\)[*+{]", plain):
        return math.inf
    alternatives = math.prod(part.count("|") + 1 for part in re.split("[()]", plain))
    return _PATH ** len(re.findall(r"[*+{]", plain)) * 2 ** plain.count("?") * alternatives
