"""The cells of a benchmark as a `datasets` data set in long form, and its way to the Hub."""

from __future__ import annotations

from datasets import Dataset, Features, Value

from atlas_hf.benchmark.learning.cells import Cell
from atlas_hf.benchmark.learning.scores import Results
from atlas_hf.hub.retry import Retry, until_done

FEATURES = Features(
    {name: Value("string") for name in ("stream", "method", "order")}
    | {"seed": Value("int64")}
    | {name: Value("string") for name in ("task", "after", "examples", "figure")}
    | {"value": Value("float64")}
)


def to_dataset(cells: list[Cell]) -> Dataset:
    """One row per cell and figure (see `Results.long`); null where a cell has no such figure."""
    return Dataset.from_list(list(Results(cells).long()), features=FEATURES)


def push(cells: list[Cell], repo_id: str) -> str:
    """Push it as the split `train` of a data set repository, made if it is not there; the commit's address.

    Raises a `HubError` if that cannot be done, `HubUnavailableError` after many tries.
    """
    dataset = to_dataset(cells)
    message = "Benchmark results"
    return until_done(
        lambda: dataset.push_to_hub(repo_id, commit_message=message).commit_url,
        f"push the results to {repo_id}",
        Retry(),
    )
