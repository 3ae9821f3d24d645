"""How much each adapter counts, for some examples, and what that comes to: mean and spread."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from atlas_hf.model.tables import Row, html_table, text_table


class Weight(NamedTuple):
    """How much an adapter counts: mean and standard deviation over examples (of n, not n - 1)."""

    mean: float
    spread: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.spread:.3f}"


class Coefficients(dict[str, Tensor]):
    """By site, the coefficients of each of B rows: (B, K), or (B, K, D) for channel weighting.

    Printed, it shows mean and spread, for these are what there is to see: what is learned is mostly a weight for each
    adapter and site, which hardly depends on the example.

    Attributes:
        members: the K tasks whose adapters they are, in the order of the columns.
    """

    def __init__(self, values: Mapping[str, Tensor], members: Sequence[str]) -> None:
        super().__init__(values)
        self.members = tuple(members)

    def by_site(self) -> dict[str, dict[str, Weight]]:
        """Mean and spread over the rows, by site and member; channels are averaged first."""
        return {site: dict(zip(self.members, _weights(values), strict=True)) for site, values in self.items()}

    def by_member(self) -> dict[str, Weight]:
        """The same of all sites, by member: the mean of their means, and the mean of their spreads."""
        sites = list(self.by_site().values())
        return {name: _mean([site[name] for site in sites]) for name in (self.members if sites else ())}

    def __repr__(self) -> str:
        return "\n".join([self._title(), text_table(self._rows())]) if self else self._title()

    def _repr_html_(self) -> str:
        """For a notebook."""
        return html_table(self._title(), self._rows()) if self else f"<p>{self._title()}</p>"

    def _title(self) -> str:
        if not self:
            return "Coefficients of no adapter"
        count = len(next(iter(self.values())))
        return f"Mean ± spread of coefficients over {count} rows (0 to 1; untrained ones are near 0.5)"

    def _rows(self) -> list[Row]:
        sites = {"all sites": self.by_member(), **self.by_site()} if self else {}
        return [("", *self.members), *((site, *map(str, weights.values())) for site, weights in sites.items())]


def _mean(weights: Sequence[Weight]) -> Weight:
    return Weight(*(sum(numbers) / len(weights) for numbers in zip(*weights, strict=True)))


def _weights(values: Tensor) -> list[Weight]:
    """Of each column: (B, K), or (B, K, D)."""
    each = values.double() if values.dim() == 2 else values.double().mean(2)
    spread, mean = torch.std_mean(each, dim=0, correction=0)
    return [Weight(*pair) for pair in zip(mean.tolist(), spread.tolist(), strict=True)]
