"""Pictures as HTML and SVG: they take the page's colours, light or dark, and say in words what they show.

Every string is escaped here; numbers come as numbers.
"""

from collections.abc import Mapping, Sequence
from html import escape

Rows = Sequence[Sequence[float | None]]


def heat_map(values: Rows, row_names: Sequence[str], column_names: Sequence[str], corner: str, caption: str) -> str:
    """A table of numbers in [0, 1], each cell as dark as its number; None stays empty."""
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in column_names)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_cell, row))}</tr>'
        for name, row in zip(row_names, values, strict=True)
    )
    told = escape(caption)
    return (
        f'<figure><figcaption>{told}</figcaption><div class="scroll" tabindex="0" role="region" aria-label="{told}">'
        f'<table class="heat"><thead><tr><th scope="col">{escape(corner)}</th>{head}</tr></thead><tbody>{body}</tbody>'
        "</table></div></figure>"
    )


def _cell(value: float | None) -> str:
    if value is None:
        return "<td></td>"
    share = min(max(value, 0.0), 1.0)
    strong = ' class="strong"' if share > 0.66 else ""
    return f'<td{strong} style="--v:{share:.3f}">{value:.2f}</td>'


def bars(scores: Sequence[tuple[str, float]]) -> str:
    """A list of names with their scores, each as a bar; a score outside of [0, 1] has no bar."""
    items = "".join(
        f'<li><span class="name">{escape(name)}</span><span class="track" aria-hidden="true">'
        f'<span style="--v:{score if 0 <= score <= 1 else 0:.4f}"></span></span>'
        f'<span class="number">{score:.3f}</span></li>'
        for name, score in scores
    )
    return f'<ol class="bars">{items}</ol>'


def tiles(figures: Sequence[tuple[str, str]]) -> str:
    """Large figures with what they are."""
    items = "".join(f"<div><dd>{escape(value)}</dd><dt>{escape(name)}</dt></div>" for value, name in figures)
    return f'<dl class="tiles">{items}</dl>'


def reuse_graph(tasks: Sequence[str], reuse: Mapping[str, Mapping[str, float]], chosen: str) -> str:
    """Tasks from top to bottom in the order of learning, and an arc from each to every earlier one that it reuses, as
    wide as its mean coefficient; the arcs of one task stand out.
    """
    step, left = 30, 20 + 15 * len(tasks)
    at = {name: 22 + step * i for i, name in enumerate(tasks)}
    arcs = [
        (task == chosen, _arc(left, at[earlier], at[task], task, earlier, value))
        for task in tasks
        for earlier, value in reuse.get(task, {}).items()
        if earlier in at and earlier != task
    ]
    drawn = "".join(path for _, path in sorted((own, path.replace("@", " own" if own else "")) for own, path in arcs))
    nodes = "".join(
        f'<circle cx="{left}" cy="{y}" r="5" class="{"own" if name == chosen else ""}"/>'
        f'<text x="{left + 14}" y="{y + 4}" class="{"own" if name == chosen else ""}">{i}. {escape(name)}</text>'
        for i, (name, y) in enumerate(at.items(), start=1)
    )
    said = "; ".join(f"{task} reuses {', '.join(reuse[task])}" for task in tasks if reuse.get(task))
    told = f"What each task reuses: {said or 'nothing'}."
    return _svg("graph", left + 150, 14 + step * len(tasks), told, drawn + nodes)


def _arc(x: int, top: int, bottom: int, task: str, earlier: str, value: float) -> str:
    bulge = x - (bottom - top) * 0.62
    told = f"{escape(task)} reuses {escape(earlier)}: mean coefficient {value:.2f}"
    return (
        f'<path class="arc@" d="M{x} {top} C{bulge:.0f} {top} {bulge:.0f} {bottom} {x} {bottom}" '
        f'style="stroke-width:{0.6 + 7 * value:.1f}"><title>{told}</title></path>'
    )


def line_chart(lines: Mapping[str, Sequence[float | None]], ticks: Sequence[str], said: str) -> str:
    """Numbers in [0, 1] over the ticks, a line for each name, with a legend."""
    width, left, top, plot = 460, 34, 12, 184
    height = top + plot + 30 + 16 * len(lines)
    across = (width - left - 24) / max(1, len(ticks) - 1)
    xs = [left + 10 + across * i for i in range(len(ticks))]

    def y(value: float) -> float:
        return top + (1 - value) * plot

    grid = "".join(
        f'<line x1="{left}" x2="{width}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{left - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.1f}</text>'
        for v in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    )
    names = "".join(
        f'<text x="{x:.1f}" y="{top + plot + 18}" text-anchor="{_anchor(i, len(ticks))}">{escape(tick)}</text>'
        for i, (x, tick) in enumerate(zip(xs, ticks, strict=True))
    )
    drawn = "".join(
        _line(number, name, [(x, y(v), v) for x, v in zip(xs, values, strict=True) if v is not None], top + plot + 40)
        for number, (name, values) in enumerate(lines.items())
    )
    return _svg("chart", width, height, said, f'<g class="grid">{grid}{names}</g>{drawn}')


def _anchor(number: int, count: int) -> str:
    return "start" if number == 0 else "end" if number == count - 1 else "middle"


def _line(number: int, name: str, points: Sequence[tuple[float, float, float]], foot: int) -> str:
    path = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y, _) in enumerate(points))
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(name)}: {value:.4f}</title></circle>'
        for x, y, value in points
    )
    at = foot + 16 * number
    legend = f'<line x1="34" x2="58" y1="{at - 4}" y2="{at - 4}"/><text x="66" y="{at}">{escape(name)}</text>'

    return f'<g class="line line-{number}"><path d="{path}"/>{dots}{legend}</g>'


def _svg(kind: str, width: int, height: int, said: str, content: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}" '
        f'style="max-width:{width * 1.15:.0f}px"><title>{escape(said)}</title>{content}</svg>'
    )
