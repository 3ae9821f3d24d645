"""Mean, spread and a paired test over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean of n values, their standard deviation (of a sample, n - 1) and the standard error of the mean.

    The last two are None for one value, all of them for none.
    """

    n: int
    mean: float | None
    deviation: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Paired:
    """Mean difference of n pairs, its standard error and 95 % confidence interval, and p of the paired t-test.

    The test is two-sided. What is not defined is None, and `reason` says why.
    """

    n: int
    difference: float | None
    error: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str | None = None

    @property
    def clear(self) -> bool | None:
        """Is the difference larger than twice its standard error? None if there is no standard error."""
        return None if self.error is None or self.difference is None else abs(self.difference) > 2 * self.error

    @property
    def gain(self) -> bool | None:
        """Is it clear and positive? None if there is no standard error."""
        return None if self.error is None or self.difference is None else self.difference > 2 * self.error


def summarise(values: Sequence[float | None]) -> Summary:
    """Summary of the values that are not None."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return Summary(len(known), known[0] if known else None)
    deviation = stdev(known)
    return Summary(len(known), fmean(known), deviation, deviation / sqrt(len(known)))


def paired(a: Sequence[float | None], b: Sequence[float | None]) -> Paired:
    """Compare a with b, pair by pair (positive: a is larger); pairs in which one is None are left out.

    Raises:
        ValueError: if a and b are not of one length.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    found = summarise([x - y for x, y in pairs])
    if found.mean is None or found.error is None:
        return Paired(found.n, found.mean, reason="one seed" if pairs else "no seed that both have")
    if found.error < 1e-12:
        return Paired(found.n, found.mean, 0.0, found.mean, found.mean, reason="the same difference at every seed")
    from scipy.stats import ttest_rel  # only a report needs it, not the processes that measure

    test = ttest_rel(*zip(*pairs, strict=True))
    low, high = map(float, test.confidence_interval(CONFIDENCE))
    return Paired(found.n, found.mean, found.error, low, high, float(test.pvalue))
