"""The tables of the report, in Markdown: scores in points (0 to 100), mean ± standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from atlas_hf.benchmark.learning.claims import SUBJECTS, Claim
from atlas_hf.benchmark.learning.scores import Results
from atlas_hf.benchmark.learning.statistics import Paired, Summary

NOTHING = "-"
SCALES = {"forgetting": 100, "worst_drop": 100, "deviation": 100, "backward_transfer": 100, "average_accuracy": 100}
COST = {
    "trained_parameters": ("trained", "{:,.0f}", 1),
    "stored_parameters": ("stored", "{:,.0f}", 1),
    "steps": ("steps", "{:,.0f}", 1),
    "train_seconds": ("training, s", "{:.1f}", 1),
    "eval_seconds": ("evaluation, s", "{:.1f}", 1),
    "samples_per_second": ("samples/s", "{:.0f}", 1),
    "peak_memory_bytes": ("peak memory, MB", "{:,.0f}", 1e-6),
}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def compared(results: Results) -> dict[str, str]:
    """The figures that methods are compared by, with their headings."""
    headings = {"average_accuracy": "average accuracy"}
    headings |= {f"new_{size}": f"new, {size}" for size in results.sizes[:-1]}
    headings |= {f"downstream_{size}": f"downstream, {size}" for size in results.sizes}
    known = [figure for figure in headings if any(any_value(results, figure))]
    return {figure: headings[figure] for figure in known}


def any_value(results: Results, figure: str) -> list[bool]:
    """Per method: was the figure measured anywhere?"""
    return [
        any(value is not None for order in results.orders for value in results.values(method, order, figure))
        for method in results.methods
    ]


def main_table(results: Results, order: str) -> str:
    """Method by figure: what was learned and what it took."""
    scores = compared(results)
    scores = {"average_accuracy": scores.pop("average_accuracy", "average accuracy"), "forgetting": "forgetting",
              "backward_transfer": "backward transfer"} | scores  # fmt: skip
    header = ["method", "seeds", *scores.values(), "trained", "stored", "training, s", "samples/s", "memory, MB"]
    costs = ("trained_parameters", "stored_parameters", "train_seconds", "samples_per_second", "peak_memory_bytes")
    rows = [
        [
            method,
            str(len(results.of(method, order))),
            *(spread(results.summary(method, order, figure)) for figure in scores),
            *(_cost(results, method, order, figure) for figure in costs),
        ]
        for method in results.methods
        if results.of(method, order)
    ]
    return markdown(header, rows)


def cost_table(results: Results, order: str) -> str:
    """Method by cost."""
    rows = [
        [method, *(_cost(results, method, order, figure) for figure in COST)]
        for method in results.methods
        if results.of(method, order)
    ]
    return markdown(["method", *(heading for heading, _, _ in COST.values())], rows)


def pairs_table(results: Results, order: str, method: str) -> str:
    """Difference of a method to each other one, figure by figure; bold where it exceeds twice its standard error."""
    scores = compared(results)
    rows = [
        [other, *(difference(results.compare(method, other, order, figure)) for figure in scores)]
        for other in results.methods
        if other != method and results.of(other, order)
    ]
    return markdown([f"{method} minus", *scores.values()], rows)


def pairs(results: Results) -> list[dict[str, Any]]:
    """Every paired comparison of a subject with another method, for the CSV."""
    return [
        {"order": order, "figure": figure, "method": method, "baseline": other}
        | vars(results.compare(method, other, order, figure))
        for order in results.orders
        for method in SUBJECTS
        for other in results.methods
        if other != method and results.of(method, order) and results.of(other, order)
        for figure in [*compared(results), "forgetting"]
    ]


def mean_matrix(results: Results, method: str, order: str) -> list[list[float | None]]:
    """The accuracy matrix, mean over seeds."""
    stacks = zip(*(cell.matrix for cell in results.of(method, order)), strict=True)
    columns = [[list(values) for values in zip(*rows, strict=True)] for rows in stacks]
    return [[None if None in values else fmean(values) for values in row] for row in columns]


def matrix_table(results: Results, method: str, order: str) -> str:
    """The mean accuracy matrix: after learning the task of a row, the score on that of a column."""
    names = results.upstream(order)
    rows = zip(names, mean_matrix(results, method, order), strict=True)
    return markdown(["after", *names], [[name, *map(points, row)] for name, row in rows])


def coefficient_table(results: Results, method: str, order: str) -> str:
    """Task by adapter: the mean coefficient over seeds; empty for a method without coefficients."""
    found = [cell.coefficients for cell in results.of(method, order) if cell.coefficients]
    if not found:
        return ""
    names = results.upstream(order)
    rows = [
        [
            task,
            *(f"{fmean(c[task][name] for c in found):.3f}" if name in found[0][task] else NOTHING for name in names),
        ]
        for task in names
    ]
    return markdown(["in task", *names], rows)


def claim_table(claim: Claim) -> str:
    """The rows of a claim, those of single tasks left to the CSV."""
    rows = [row for row in claim.rows if "task" not in row or row in claim.main]
    if not rows:
        return "Nothing was measured for this claim."
    columns = [name for name in rows[0] if name not in _HIDDEN]
    body = [[_claim_value(name, row) for name in columns] for row in rows]
    return markdown([_HEADINGS.get(name, name.replace("_", " ")) for name in columns], body)


_HIDDEN = {"task", "error", "low", "high", "reason", "deviation"}
_HEADINGS = {
    "difference": "difference ± 2 SE [95 % interval]",
    "forgetting": "forgetting ± SD",
    "low_shot_transfer": "low-shot transfer, %",
    "transfer_tasks": "of tasks",
}


def _claim_value(name: str, row: Mapping[str, Any]) -> str:
    value = row[name]
    if name == "held":
        return {True: "yes", False: "no", None: NOTHING}[value]
    if value is None:
        return f"{NOTHING} ({row['reason']})" if name == "p" and row["reason"] else NOTHING
    plain = row.get("figure") == "effective_rank"
    if name == "difference":
        return _interval(row, 1 if plain else 100)
    if name == "forgetting":
        return spread(Summary(row["n"], value, row["deviation"], None))
    if name == "p":
        return p_value(value)
    if isinstance(value, float):
        return f"{value:.1f}" if plain or name == "low_shot_transfer" else points(value)
    return str(value)


def _interval(row: Mapping[str, Any], scale: float) -> str:
    text = f"{scale * row['difference']:+.2f}"
    if row["error"] is not None:
        text += f" ± {2 * scale * row['error']:.2f}"
    if row["low"] is not None:
        text += f" [{scale * row['low']:+.2f}, {scale * row['high']:+.2f}]"
    return text


def points(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f}"


def spread(found: Summary) -> str:
    """Mean ± standard deviation in points."""
    return points(found.mean) + ("" if found.deviation is None else f" ± {100 * found.deviation:.1f}")


def difference(found: Paired) -> str:
    """Difference ± twice its standard error in points, and p."""
    if found.difference is None:
        return NOTHING
    text = f"{100 * found.difference:+.1f}" + ("" if found.error is None else f" ± {200 * found.error:.1f}")
    text = f"**{text}**" if found.clear else text
    return text + ("" if found.p is None else f" (p {p_value(found.p)})")


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _cost(results: Results, method: str, order: str, figure: str) -> str:
    _, form, scale = COST[figure]
    mean = results.summary(method, order, figure).mean
    return NOTHING if mean is None else form.format(scale * mean)
