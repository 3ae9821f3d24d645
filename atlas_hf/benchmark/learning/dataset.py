"""The cells of a benchmark as a `datasets` data set in long form, on the Hub."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset, Features, Value

from atlas_hf.benchmark.learning.cells import Cell
from atlas_hf.benchmark.learning.scores import Results
from atlas_hf.hub import Retry, until_done

COLUMNS = ("stream", "method", "order", "seed", "task", "after", "examples", "figure", "value")
KINDS = {"seed": "int64", "value": "float64"}
FEATURES = Features({name: Value(KINDS.get(name, "string")) for name in COLUMNS})


def push(cells: Sequence[Cell], repo_id: str) -> str:
    """Push one row per cell and figure (see `Results.long`; null where a cell has no such figure) as the split `train`
    of a data set repository, made if it is not there; the commit's address.

    Raises a `HubError` if that cannot be done, `HubUnavailableError` after many tries.
    """
    dataset = Dataset.from_list(list(Results(cells).long()), features=FEATURES)
    return until_done(
        lambda: dataset.push_to_hub(repo_id, commit_message="Benchmark results").commit_url,
        f"push the results to {repo_id}",
        Retry(),
    )
