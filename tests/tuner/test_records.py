"""The records of backbones: what a known one is asked, and that one without a record is found out as before."""

import pytest
import torch
import transformers

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.tuner.backbones import BACKBONES, UNKNOWN, backbone_of
from atlas_hf.tuner.route import routed
from shared.bare_backbones import BACKBONES as TINY
from shared.bare_backbones import TEXT, backbone
from shared.comparing import seeded
from shared.tiny import randomize, text_spec


@pytest.mark.parametrize("name", TINY)
def test_a_known_backbone_has_its_record_and_no_sequences_are_counted(name):
    assert backbone_of(backbone(name)) is BACKBONES[name] and not BACKBONES[name].windows


def test_without_a_record_padding_is_found(monkeypatch):
    """ALBERT, and BERT once it is forgotten: the same bits as with the record."""
    ids, mask = torch.tensor([[3, 4, 5, 1], [6, 7, 1, 1]]), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])

    def answers(model):
        model.add_task(text_spec("one"))
        randomize(model, "one")
        alone = seeded(model, "one", input_ids=ids[1:, :2], attention_mask=mask[1:, :2])
        together = seeded(model, "one", input_ids=ids, attention_mask=mask)
        torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)
        return together

    albert = transformers.AlbertModel(transformers.AlbertConfig(**TEXT, embedding_size=8))
    assert backbone_of(albert) is UNKNOWN
    answers(AtlasModel(albert.eval(), config=AtlasConfig(r=2, target_modules=["attention.dense", "ffn_output"])))
    sites = AtlasConfig(r=2, target_modules=["output.dense"])
    known = answers(AtlasModel(backbone("bert"), config=sites))
    monkeypatch.delitem(BACKBONES, "bert")
    assert torch.equal(answers(AtlasModel(backbone("bert"), config=sites)), known)


def test_windows_are_joined_once_sequences_are_counted():
    model = AtlasModel(backbone("bert"), config=AtlasConfig(r=2))
    model.add_task(text_spec("one"))
    site, x = next(iter(model.base_model.sites.values())), torch.randn(6, 4, 16)
    coefficients = {}
    for sequences in (None, 2):
        with routed(sequences=sequences, coefficients={}) as route, torch.no_grad():
            assert site(x).shape == x.shape
        coefficients[sequences] = route.coefficients[site]
    assert coefficients[None].shape == (6, 1) and coefficients[2].shape == (2, 1)
