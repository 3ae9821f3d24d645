"""Small tables for a terminal and for a notebook."""

from collections.abc import Sequence
from html import escape

Row = Sequence[str]


def text_table(rows: Sequence[Row], left: int = 1) -> str:
    """Rows as lines, in columns of one width: the first `left` of them begin, the others end alike."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def html_table(title: str, rows: Sequence[Row], note: str = "", left: int = 1) -> str:
    """The same as HTML; the first row is the head."""
    head, *body = ["".join(_cell(cell, i, n, left) for i, cell in enumerate(row)) for n, row in enumerate(rows)]
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    last = f"<p>{escape(note)}</p>" if note else ""
    return f"<p>{escape(title)}</p><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>{last}"


def _cell(text: str, column: int, row: int, left: int) -> str:
    tag = "td" if row else "th"
    return f'<{tag} style="text-align: {"left" if column < left else "right"}">{escape(text)}</{tag}>'
