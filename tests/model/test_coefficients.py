"""`model.coefficients` as a reader looks at it: mean and spread."""

import pickle
from copy import deepcopy

import pytest
import torch

from atlas_hf.model import Coefficients, Weight
from shared.tiny import learned, text_spec

TEXTS = [["a b c d e f"], ["h"], ["c c a"]]


@pytest.fixture(scope="module")
def model(bert_folder):
    return learned(bert_folder)


def test_mean_and_spread_by_site_and_by_member(model):
    found = model.coefficients("three", **model.preprocessor.encode_texts(TEXTS))
    assert isinstance(found, dict) and found.members == ("one", "two", "three")
    spreads, means = zip(*(torch.std_mean(values, dim=0, correction=0) for values in found.values()), strict=True)
    for site, mean, spread in zip(found.by_site().values(), means, spreads, strict=True):
        assert [weight.mean for weight in site.values()] == pytest.approx(mean.tolist())
        assert [weight.spread for weight in site.values()] == pytest.approx(spread.tolist(), abs=1e-6)
    overall = found.by_member()
    assert list(overall) == ["one", "two", "three"]
    assert [weight.mean for weight in overall.values()] == pytest.approx(torch.stack(means).mean(0).tolist())
    assert overall["one"].spread == pytest.approx(torch.stack(spreads).mean(0)[0].item())


def test_printed_they_are_a_table(model):
    found = model.coefficients("two", **model.preprocessor.encode_texts(TEXTS))
    title, names, first, *sites = str(found).splitlines()
    assert title.startswith("Mean ± spread of coefficients over 3 rows (") and names.split() == ["one", "two"]
    assert first.split() == ["all", "sites", *" ".join(map(str, found.by_member().values())).split()]
    assert [line.split()[0] for line in sites] == list(found) and len({*map(len, [names, first, *sites])}) == 1


def test_a_coefficient_per_channel_counts_as_its_mean_over_the_channels():
    values = torch.tensor([[[0.0, 0.2], [1.0, 1.0]], [[0.4, 0.6], [1.0, 1.0]]])
    found = Coefficients({"site": values}, ["a", "b"])
    assert found.by_site() == {"site": {"a": pytest.approx((0.3, 0.2)), "b": Weight(1.0, 0.0)}}
    assert str(found).splitlines()[-1] == "site       0.300 ± 0.200  1.000 ± 0.000"


def test_one_row_has_no_spread_and_no_adapter_no_table(model):
    alone = model.coefficients("one", **model.preprocessor.encode_texts(TEXTS[:1]))
    assert alone.by_member()["one"].spread == 0
    model = deepcopy(model)
    model.add_task(text_spec("bare"), experience=())
    model.base_model.drop_adapter("bare")
    none = model.coefficients("bare", **model.preprocessor.encode_texts(TEXTS))
    assert none == {} and none.by_member() == {} and str(none) == "Coefficients of no adapter"


def test_copies_keep_their_members():
    found = Coefficients({"site": torch.rand(2, 1)}, ["a"])
    assert pickle.loads(pickle.dumps(found)).members == deepcopy(found).members == ("a",)
