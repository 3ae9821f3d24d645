"""`torch.compile` sees one graph: sites, routes and packs break none."""

import shutil
from functools import partial

import pytest
import torch
import transformers
from torch._dynamo.utils import counters

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.benchmark.speed import ways as speed_ways
from shared.tiny import randomize, text_spec

TEXTS = [["a b c d e f"], ["h"]]
INDUCTOR = pytest.param(
    "inductor",
    marks=[pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")],
)


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


@pytest.fixture
def small():
    """One layer, three tasks, of which two have the same shapes."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = speed_ways.build("bert-1", 1, width=4, dropout=0.0)
    model.set_stage(speed_ways.TASK, "complete")
    model.set_stage(speed_ways.MIXED[1], "complete")
    return model


@pytest.fixture(autouse=True)
def one_layer(monkeypatch):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    config = partial(transformers.BertConfig, vocab_size=1000, **sizes)
    monkeypatch.setitem(speed_ways.BACKBONES, "bert-1", (config, speed_ways.TEXT))


def compile_backbone(model, backend):
    model.get_base_model().compile(backend=backend, fullgraph=True)
    counters.clear()


@pytest.mark.parametrize("backend", ["eager", INDUCTOR])
def test_tasks_of_the_same_shapes_share_a_graph(small, backend):
    inputs = {"input_ids": torch.arange(6, 27).view(3, 7)}
    tasks, graphs = [*speed_ways.MIXED[:2], "task-0"], []
    with torch.no_grad():
        expected = {task: small.eval().pooled(task, **inputs) for task in tasks}
        compile_backbone(small, backend)
        for task in tasks + tasks:
            torch.testing.assert_close(small.pooled(task, **inputs), expected[task])
            graphs.append(counters["stats"]["unique_graphs"])
    assert (expected[tasks[0]] - expected[tasks[1]]).abs().max() > 1e-4
    assert graphs == [1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("backend", ["aot_eager", INDUCTOR])
@pytest.mark.parametrize("stage", [pytest.param("experience", marks=pytest.mark.slow), "expansion"])
def test_a_compiled_backbone_trains(small, stage, backend):
    small.set_stage(speed_ways.MIXED[2], stage)
    inputs, small = {"input_ids": torch.arange(6, 27).view(3, 7)}, small.train()
    trained = [p for name, p in small.named_parameters() if p.requires_grad and "atlas_head" not in name]

    def gradients():
        return torch.autograd.grad(small.pooled(speed_ways.MIXED[2], **inputs).square().sum(), trained)

    expected = gradients()
    compile_backbone(small, backend)
    for found in (gradients(), gradients()):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
    assert counters["stats"]["unique_graphs"] == 1


def whole(model):
    """The backbone as one graph; what cannot be in it is an error."""
    return torch.compile(model.get_base_model(), backend="eager", fullgraph=True)


@pytest.mark.slow
def test_every_task_computes_the_same(model):
    inputs = model.preprocessor.encode_texts(TEXTS)
    del inputs["attention_mask"]
    compiled = whole(model)
    for task in ("three", "two", "one", "three"):
        model.set_task(task)
        with torch.no_grad():
            found, expected = (forward(**inputs).pooler_output for forward in (compiled, model.get_base_model()))
            torch.testing.assert_close(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["experience", "expansion"])
def test_both_stages_have_the_same_gradients(model, stage):
    inputs = model.preprocessor.encode_texts(TEXTS)
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
