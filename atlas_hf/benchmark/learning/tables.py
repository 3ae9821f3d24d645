"""The tables of the report, in Markdown: scores in points (0 to 100), mean ± standard deviation over seeds."""

from collections.abc import Mapping
from itertools import permutations
from statistics import fmean
from typing import Any

from atlas_hf.benchmark.learning.claims import SUBJECTS, Claim
from atlas_hf.benchmark.learning.new_tasks import new_tasks
from atlas_hf.benchmark.learning.scores import Paired, Results, Summary, paired
from atlas_hf.report.text import markdown

NOTHING = "-"
SCORES = {"average_accuracy": "average accuracy", "forgetting": "forgetting", "backward_transfer": "backward transfer"}
COSTS = {  # heading, format, unit
    "trained_parameters": ("trained", ",.0f", 1),
    "stored_parameters": ("stored", ",.0f", 1),
    "steps": ("steps", ",.0f", 1),
    "train_seconds": ("training, s", ".1f", 1),
    "eval_seconds": ("evaluation, s", ".1f", 1),
    "samples_per_second": ("samples/s", ".0f", 1),
    "peak_memory_bytes": ("peak memory, MB", ",.0f", 1e-6),
}
CLAIM_HEADINGS = {
    "difference": "difference ± 2 SE [95 % interval]",
    "forgetting": "forgetting ± SD",
    "low_shot_transfer": "low-shot transfer, %",
    "transfer_tasks": "of tasks",
}
HIDDEN_IN_CLAIMS = {"task", "error", "low", "high", "reason", "deviation"}


def compared(results: Results) -> dict[str, str]:
    """The figures that methods are compared by and that some cell has, with their headings."""
    headings = {"average_accuracy": SCORES["average_accuracy"]}
    headings |= {f"new_{size}": f"new, {size}" for size in results.sizes[:-1]}
    headings |= {f"downstream_{size}": f"downstream, {size}" for size in results.sizes}
    measured = {name for found in results.figures.values() for name, value in found.items() if value is not None}
    return {figure: heading for figure, heading in headings.items() if figure in measured}


def main_table(results: Results, order: str) -> str:
    """Method by figure: what was learned and what it took."""
    scores = SCORES | compared(results)
    costs = [figure for figure in COSTS if figure not in ("steps", "eval_seconds")]
    header = ["method", "seeds", *scores.values(), *(COSTS[figure][0].removeprefix("peak ") for figure in costs)]
    rows = []
    for method in results.methods_in(order):
        spreads = [spread(results.summary(method, order, figure)) for figure in scores]
        taken = [_cost(results, method, order, figure) for figure in costs]
        rows.append([method, len(results.of(method, order)), *spreads, *taken])
    return markdown(header, rows)


def cost_table(results: Results, order: str) -> str:
    """Method by cost."""
    rows = [[name, *(_cost(results, name, order, figure) for figure in COSTS)] for name in results.methods_in(order)]
    return markdown(["method", *(heading for heading, _, _ in COSTS.values())], rows)


def _cost(results: Results, method: str, order: str, figure: str) -> str:
    _, form, unit = COSTS[figure]
    mean = results.summary(method, order, figure).mean
    return NOTHING if mean is None else f"{unit * mean:{form}}"


def pairs(results: Results) -> list[dict[str, Any]]:
    """Every paired comparison of a subject with another method, for the CSV."""
    return [
        {"order": order, "figure": figure, "method": method, "baseline": other}
        | vars(_against(results, method, other, order, figure))
        for order in results.orders
        for method, other in permutations(results.methods_in(order), 2)
        for figure in [*compared(results), "forgetting"]
        if method in SUBJECTS
    ]


def pairs_table(results: Results, order: str, method: str) -> str:
    """Difference of a method to each other one, figure by figure; bold where it exceeds twice its standard error."""
    scores = compared(results)
    others = [other for other in results.methods_in(order) if other != method]
    rows = [[other, *(difference(_against(results, method, other, order, f)) for f in scores)] for other in others]
    return markdown([f"{method} minus", *scores.values()], rows)


def _against(results: Results, method: str, other: str, order: str, figure: str) -> Paired:
    return paired(results.values(method, order, figure), results.values(other, order, figure))


def new_task_table(results: Results, order: str) -> str:
    """New task by size: what was gained against the best control, from which tasks, at what cost; "" if none was."""
    header = ["new task", "n", "atlas", "best control", "", "atlas minus it", "minus adapter_copy", "began at", "adds"]
    rows = [
        [one.task, one.examples, points(one.score.mean), points(one.control_score.mean), one.control,
         difference(one.against_control), difference(one.against_copy),
         ", ".join(f"{name} {count}" for name, count in one.began_at.items()),
         "/".join(f"{count / 1000:,.0f}k" for count in (one.parameters, one.control_parameters) if count is not None)]
        for one in new_tasks(results, order)
    ]  # fmt: skip
    return markdown(header, rows) if rows else ""


def matrix_table(results: Results, method: str, order: str) -> str:
    """The mean accuracy matrix: after learning the task of a row, the score on that of a column."""
    names = results.upstream(order)
    rows = zip(names, results.mean_matrix(method, order), strict=True)
    return markdown(["after", *names], [[name, *map(points, row)] for name, row in rows])


def coefficient_table(results: Results, method: str, order: str) -> str:
    """Task by adapter: the mean coefficient over seeds; empty for a method without coefficients."""
    found = [cell.coefficients for cell in results.of(method, order) if cell.coefficients]
    names, rows = results.upstream(order), []
    for task in names if found else ():
        known = [[seed[task][name] for seed in found if name in seed[task]] for name in names]
        rows.append([task, *(f"{fmean(values):.3f}" if values else NOTHING for values in known)])
    return markdown(["in task", *names], rows) if rows else ""


def claim_table(claim: Claim) -> str:
    """The rows of a claim, those of single tasks left to the CSV."""
    rows = [row for row in claim.rows if "task" not in row or row in claim.main]
    if not rows:
        return "Nothing was measured for this claim."
    columns = [name for name in rows[0] if name not in HIDDEN_IN_CLAIMS]
    header = [CLAIM_HEADINGS.get(name, name.replace("_", " ")) for name in columns]
    return markdown(header, [[_claim_value(name, row) for name in columns] for row in rows])


def _claim_value(name: str, row: Mapping[str, Any]) -> str:
    value, plain = row[name], row.get("figure") == "effective_rank"
    if name == "held":
        return {True: "yes", False: "no", None: NOTHING}[value]
    if value is None:
        return f"{NOTHING} ({row['reason']})" if name == "p" and row["reason"] else NOTHING
    if name == "forgetting":
        return spread(Summary(row["n"], value, row["deviation"]))
    if name == "p":
        return p_value(value)
    if name == "difference":
        scale = 1 if plain else 100
        text = f"{scale * value:+.2f}"
        if row["error"] is not None:
            text += f" ± {2 * scale * row['error']:.2f} [{scale * row['low']:+.2f}, {scale * row['high']:+.2f}]"
        return text
    if isinstance(value, float):
        return f"{value:.1f}" if plain or name == "low_shot_transfer" else points(value)
    return str(value)


def points(value: float | None) -> str:
    """A score in [0, 1] as points."""
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
    """Three digits."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
