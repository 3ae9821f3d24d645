"""Where a head's vector comes from: found, or chosen."""

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling, ModelOutput

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.tuner.config import POOLINGS
from atlas_hf.tuner.pooling import pool, pool_runs
from shared.bare_backbones import BACKBONES, IDS, PIXELS, backbone, inputs_for
from shared.comparing import seeded
from shared.tiny import randomize, text_spec

HIDDEN, MASK = torch.randn(2, 3, 4), torch.tensor([[1, 1, 1], [1, 0, 0]])
PLAIN = BaseModelOutput(last_hidden_state=HIDDEN)
POOLED = BaseModelOutputWithPooling(last_hidden_state=HIDDEN, pooler_output=torch.ones(2, 4))
TOWERS = ModelOutput(image_embeds=torch.zeros(2, 3), text_embeds=torch.ones(2, 3))
FLAVA = ModelOutput(image_output=PLAIN, text_output=PLAIN, multimodal_output=POOLED)


def test_what_the_outputs_offer_is_found():
    assert torch.equal(pool(POOLED, MASK), torch.ones(2, 4))
    assert torch.equal(pool(FLAVA, MASK), torch.ones(2, 4))
    assert pool(TOWERS, MASK).tolist() == [[0, 0, 0, 1, 1, 1]] * 2
    torch.testing.assert_close(pool(PLAIN, MASK), torch.stack([HIDDEN[0].mean(0), HIDDEN[1, 0]]))
    torch.testing.assert_close(pool(PLAIN, None), HIDDEN.mean(1))
    torch.testing.assert_close(pool(PLAIN, MASK[:, :2]), HIDDEN.mean(1))  # the mask of another sequence


def test_a_choice_comes_first():
    assert torch.equal(pool(POOLED, MASK, "cls"), HIDDEN[:, 0])
    torch.testing.assert_close(pool(POOLED, MASK, "mean"), pool(PLAIN, MASK))
    assert torch.equal(pool(POOLED, MASK, "pooler"), torch.ones(2, 4))
    rows = pool_runs(POOLED, MASK, [("one", 1), ("two", 1)], {"one": None, "two": "cls"})
    assert torch.equal(rows, torch.stack([torch.ones(4), HIDDEN[1, 0]]))


@pytest.mark.parametrize(
    ("outputs", "pooling", "possible"),
    [(PLAIN, "pooler", "cls, mean"), (TOWERS, "cls", "joined"), (POOLED, "joined", "pooler, cls, mean")],
)
def test_what_the_outputs_do_not_offer_is_an_error(outputs, pooling, possible):
    error = f"pooling is '{pooling}', but the backbone returns .*; possible are {possible}."
    with pytest.raises(ValueError, match=error):
        pool(outputs, MASK, pooling)


def test_a_pooling_that_is_none_is_an_error():
    with pytest.raises(ValueError, match="pooling is 'max'; possible are pooler, joined, cls, mean, or None"):
        AtlasConfig(pooling="max")
    assert set(POOLINGS) == {"pooler", "joined", "cls", "mean"}


def expected_vectors(name, outputs):
    """By hand, for inputs without padding."""
    if name in ("clip", "siglip"):
        return torch.cat([outputs.image_embeds, outputs.text_embeds], dim=-1)
    if name in ("deberta", "deberta-v2", "distilbert", "electra"):
        return outputs.last_hidden_state[:, 0]
    return outputs.pooler_output


@pytest.mark.parametrize("name", BACKBONES)
def test_each_architecture_is_pooled_as_it_should_be(name):
    bare = backbone(name)
    with torch.no_grad():
        torch.manual_seed(0)
        expected = expected_vectors(name, bare(**inputs_for(name)))
        model = AtlasModel(bare, config=AtlasConfig(r=2))
        torch.manual_seed(0)
        found = model.pooled("__base__", **inputs_for(name))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert found.shape == (2, model.pooled_size)


def test_tasks_may_pool_each_in_its_own_way_and_keep_it(tmp_path, bert):
    inputs = bert.preprocessor.encode_texts([["a b c"], ["d"]])
    for i, pooling in enumerate((None, "cls", "mean")):
        name = f"task-{pooling or 'found'}"
        bert.add_task(text_spec(name), pooling=pooling)
        randomize(bert, name, i)
        bert.set_stage(name, "complete")
    bert.save_pretrained(tmp_path)
    again = AtlasModel.from_pretrained(tmp_path)
    for model in (bert, again):
        vectors = [model.pooled(name, **inputs) for name in model.tasks]
        hidden = [model._encoded(inputs, task=name)[0].last_hidden_state for name in model.tasks]
        assert torch.equal(vectors[1], hidden[1][:, 0]) and not torch.allclose(vectors[0], hidden[0][:, 0])
        torch.testing.assert_close(vectors[2][1], hidden[2][1, :3].mean(0))
    for name in bert.tasks:
        assert torch.equal(seeded(again, name, **inputs), seeded(bert, name, **inputs))
    mixed = seeded(bert, ["task-cls", "task-mean"], **inputs)
    for row, name in enumerate(("task-cls", "task-mean")):
        torch.testing.assert_close(mixed[row], seeded(bert, name, **inputs)[row], atol=1e-5, rtol=0)


def test_the_defaults_of_the_model_hold_for_the_bare_backbone_too():
    model = AtlasModel(backbone("vit"), config=AtlasConfig(r=2, pooling="mean"))
    model.add_task(text_spec("one"))
    with torch.no_grad():
        outputs = model.get_base_model()(pixel_values=PIXELS)
        for task in ("__base__", "one"):  # a new adapter changes nothing
            torch.testing.assert_close(model.pooled(task, pixel_values=PIXELS), outputs.last_hidden_state.mean(1))
    clip = AtlasModel(backbone("clip"), config=AtlasConfig(r=2, pooling="cls"))
    clip.add_task(text_spec("one"))
    with pytest.raises(ValueError, match="pooling is 'cls', but the backbone returns .*possible are joined"):
        clip(pixel_values=PIXELS, input_ids=IDS)
