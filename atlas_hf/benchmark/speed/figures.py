"""What was measured, as records and as a Markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HEADER = "backbone,variant,K,measure,way,samples/s,/ bare,/ floor,middle half,peak MiB,/ floor".split(",")


def records(seconds: Mapping[str, list[float]], peaks: Mapping[str, int], batch: int) -> list[dict[str, Any]]:
    """Of one measure, one per way: from the seconds of each round, and the bytes of the peak, by way."""
    found = []
    for way, times in seconds.items():
        record: dict[str, Any] = {"way": way, "seconds": times, "peak_bytes": peaks.get(way)}
        record["samples_per_second"] = batch / statistics.median(times)
        for base in {"bare", "floor", "fused"} & seconds.keys():
            record[f"to_{base}"] = ratios(times, seconds[base])
        found.append(record | {"memory_to_floor": peaks[way] / peaks["floor"] if peaks else None})
    return found


def ratios(times: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """The spread of the quotients of each round."""
    return spread([one / other for one, other in zip(times, base, strict=True)])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return {"median": median, "low": low, "high": high}


def table(records: Iterable[Mapping[str, Any]]) -> str:
    """The records as a Markdown table."""
    rows = []
    for record in records:
        floor, peak = record["to_floor"], record["peak_bytes"]
        memory = ["", ""] if peak is None else [f"{peak / 2**20:.0f}", f"{record['memory_to_floor']:.2f}"]
        cells = [record[name] for name in ("backbone", "variant", "adapters", "measure", "way")]
        cells += [f"{record['samples_per_second']:.3g}", f"{record['to_bare']['median']:.2f}"]
        rows.append([*cells, f"{floor['median']:.2f}", f"{floor['low']:.2f}-{floor['high']:.2f}", *memory])
    return markdown(HEADER, rows)


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows of cells as a Markdown table."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])
