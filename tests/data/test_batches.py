"""The loop over a data set keeps its order, its batches and everybody's random state."""

import pytest
import torch
from datasets import Dataset

from atlas_hf.data import batches


@pytest.mark.parametrize("kind", [list, Dataset.from_list])
@pytest.mark.parametrize(("count", "sizes"), [(5, [2, 2, 1]), (4, [2, 2]), (1, [1]), (0, [])])
def test_rows_in_their_order(kind, count, sizes):
    state = torch.get_rng_state()
    rows = kind([{"number": number} for number in range(count)])

    def collate(given):
        assert isinstance(given, list)
        return {"numbers": torch.tensor([row["number"] for row in given])}

    found = [batch["numbers"] for batch in batches(rows, collate, 2, torch.device("cpu"))]
    assert [len(batch) for batch in found] == sizes
    assert [number for batch in found for number in batch.tolist()] == list(range(count))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_error_of_the_collator_is_the_collators():
    def collate(rows):
        raise ValueError(f"{len(rows)} rows")

    with pytest.raises(ValueError, match="^2 rows$"):
        list(batches([{}, {}], collate, 2, torch.device("cpu")))
