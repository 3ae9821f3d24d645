"""`torch.compile` sees one graph: sites, routes and packs break none."""

import pytest
import torch
from conftest import randomize, text_spec

from atlas_hf import AtlasConfig, AtlasModel

pytestmark = pytest.mark.slow

TEXTS = [["a b c d e f"], ["h"]]


@pytest.fixture
def model(bert_folder):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    for i, (name, experience) in enumerate({"one": (), "two": ["one"], "three": ["one"]}.items()):
        model.add_task(text_spec(name), experience=experience)
        randomize(model, name, seed=i)
        model.set_stage(name, "complete")
    return model.eval()


def whole(model):
    """The backbone as one graph; what cannot be in it is an error."""
    return torch.compile(model.get_base_model(), backend="eager", fullgraph=True)


def test_every_task_computes_the_same(model):
    inputs = model.encoder.encode_texts(TEXTS)
    del inputs["attention_mask"]
    compiled = whole(model)
    for task in ("three", "two", "one", "three"):
        model.set_task(task)
        with torch.no_grad():
            found, expected = (forward(**inputs).pooler_output for forward in (compiled, model.get_base_model()))
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("stage", ["experience", "expansion"])
def test_both_stages_have_the_same_gradients(model, stage):
    inputs = model.encoder.encode_texts(TEXTS)
    model.add_task(text_spec("four"))
    randomize(model, "four")
    model.set_stage("four", stage)
    compiled, model = whole(model), model.train()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad and "atlas_head" not in name}
    found, expected = (
        torch.autograd.grad(forward(**inputs).pooler_output.square().sum(), list(trained.values()))
        for forward in (compiled, model.get_base_model())
    )
    assert len(trained) == 4 * (1 if stage == "experience" else 6)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
