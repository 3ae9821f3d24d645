"""Pictures as HTML and SVG: they take the page's colours, light or dark, and say in words what they show.

They are drawn by the macros of `parts.html`, which escapes every string.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

Rows = Sequence[Sequence[float | None]]
_TEXT = re.sub(r"\n\s*", "", (Path(__file__).parent / "parts.html").read_text(encoding="utf-8"))
_PARTS = Environment(autoescape=True, undefined=StrictUndefined).from_string(_TEXT).module


def _draw(part: str, *values: Any) -> str:
    return str(getattr(_PARTS, part)(*values))


def heat_map(values: Rows, row_names: Sequence[str], column_names: Sequence[str], corner: str, caption: str) -> str:
    """A table of numbers in [0, 1], each cell as dark as its number; None stays empty."""
    return _draw("heat_map", list(zip(row_names, values, strict=True)), column_names, corner, caption)


def bars(scores: Sequence[tuple[str, float]]) -> str:
    """A list of names with their scores, each as a bar; a score outside of [0, 1] has no bar."""
    return _draw("bars", scores)


def tiles(figures: Sequence[tuple[str, str]]) -> str:
    """Large figures with what they are."""
    return _draw("tiles", figures)


def reuse_graph(tasks: Sequence[str], reuse: Mapping[str, Mapping[str, float]], chosen: str) -> str:
    """Tasks from top to bottom in the order of learning, and an arc from each to every earlier one that it reuses, as
    wide as its mean coefficient; the arcs of one task stand out.
    """
    arcs = [
        (task, earlier, value)
        for task in sorted(tasks, key=lambda task: task == chosen)  # drawn last, its arcs are on top
        for earlier, value in reuse.get(task, {}).items()
        if earlier in tasks and earlier != task
    ]
    said = "; ".join(f"{task} reuses {', '.join(reuse[task])}" for task in tasks if reuse.get(task))
    at = {name: 22 + 30 * i for i, name in enumerate(tasks)}
    return _draw("reuse_graph", 20 + 15 * len(tasks), at, arcs, chosen, f"What each task reuses: {said or 'nothing'}.")


def line_chart(lines: Mapping[str, Sequence[float | None]], ticks: Sequence[str], said: str) -> str:
    """Numbers in [0, 1] over the ticks, a line for each name, with a legend."""
    known = {
        name: [(i, value) for i, value in zip(range(len(ticks)), values, strict=True) if value is not None]
        for name, values in lines.items()
    }
    return _draw("line_chart", known, ticks, said)
