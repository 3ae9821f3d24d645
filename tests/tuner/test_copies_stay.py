"""A5. Under plain PEFT, a finished adapter's copies of other modules (`modules_to_save`) stay as they are, too."""

import pytest
import torch
from peft import PeftModel, get_peft_model, inject_adapter_in_model
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

from atlas_hf import AtlasConfig
from atlas_hf.tuner import AtlasLayer

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
}  # fmt: skip
IDS = {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])}
STAYS = "stay frozen, although asked to train: finished"
pytestmark = pytest.mark.filterwarnings("ignore:.*stay frozen, although asked to train")


def classifier(kind=BertForSequenceClassification):
    torch.manual_seed(0)
    return kind(BertConfig(**SIZES, num_labels=3))


def config(task_type="SEQ_CLS", **more):
    return AtlasConfig(r=2, task_type=task_type, init_weights=False, **more)


def numbers(model, task):
    """All that an adapter has."""
    return {path: p.detach().clone() for path, p in model.named_parameters() if f".{task}." in f"{path}."}


def changed(model, task):
    """What of an adapter two steps of an optimizer over all parameters change, as somebody's own loop takes them."""
    before = numbers(model, task)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        logits = model.train()(**IDS).logits
        if logits.requires_grad:
            logits.square().mean().backward()
            optimizer.step()
    return {path for path, value in numbers(model, task).items() if not torch.equal(value, before[path])}


@pytest.mark.parametrize(
    ("kind", "task_type"), [(BertForSequenceClassification, "SEQ_CLS"), (BertForTokenClassification, "TOKEN_CLS")]
)
def test_a5_a_finished_adapter_that_is_wrapped_anew(kind, task_type):
    with pytest.warns(UserWarning, match=STAYS):
        model = get_peft_model(classifier(kind), config(task_type, stage="complete"), "a")
    assert changed(model, "a") == set()
    learns = get_peft_model(classifier(kind), config(task_type), "a")
    assert any("classifier" in path for path in changed(learns, "a"))


def test_a5_a_finished_adapter_that_is_loaded_to_train(tmp_path):
    get_peft_model(classifier(), config(), "a").save_pretrained(tmp_path)
    finished = AtlasConfig.from_pretrained(tmp_path / "a")
    finished.stage = "complete"
    finished.save_pretrained(tmp_path / "a")
    model = PeftModel.from_pretrained(classifier(), tmp_path / "a", "a", is_trainable=True)
    assert changed(model, "a") == set()
    model.load_adapter(tmp_path / "a", "b", is_trainable=True)
    model.set_adapter("b")
    assert changed(model, "b") == changed(model, "a") == set()
    model.set_adapter("a")
    assert changed(model, "a") == set()


def roads(model):
    """What may let an adapter `a` train, by PEFT's own words."""
    yield "set_adapter", lambda: model.set_adapter("a")
    yield "set_adapter of the tuner", lambda: model.base_model.set_adapter(["a"])
    yield "set_requires_grad", lambda: model.set_requires_grad("a")
    yield "enable_adapter_layers", model.base_model.enable_adapter_layers
    yield (
        "a site's and the copies' own",
        lambda: [
            module.set_adapter("a")
            for module in model.modules()
            if isinstance(module, (AtlasLayer, ModulesToSaveWrapper))
        ],
    )
    yield (
        "delete_adapter",
        lambda: (model.add_adapter("c", config()), model.set_adapter("c"), model.delete_adapter("c")),
    )
    yield "add_adapter", lambda: model.add_adapter("d", config(experience=["a"]))


@pytest.mark.parametrize("how", ["complete", "reused"])
def test_a5_by_no_road_of_peft_do_the_copies_train(how):
    model = get_peft_model(classifier(), config(), "a")
    if how == "complete":
        model.peft_config["a"].stage = "complete"
        model.set_adapter("a")
    else:
        model.add_adapter("b", config(experience=["a"]))
    assert changed(model, "a") == set()
    for road, call in roads(model):
        call()
        assert changed(model, "a") == set(), road
        with model.disable_adapter():
            pass
        assert changed(model, "a") == set(), f"{road}, and left disable_adapter"
    model.set_adapter("a")
    if how == "complete":  # asked for by name
        model.delete_adapter("d")
        model.peft_config["a"].stage = "expansion"
        model.set_adapter("a")
        assert any("classifier" in path for path in changed(model, "a"))


def test_a5_the_newest_adapter_learns_as_before():
    model = get_peft_model(classifier(), config(), "a")
    model.add_adapter("b", config(experience=["a"]))
    model.set_adapter("b")
    with model.disable_adapter():
        pass
    assert any("classifier" in path for path in changed(model, "b")) and changed(model, "a") == set()
    model.delete_adapter("b")  # now nothing reuses it
    model.set_adapter("a")
    assert any("classifier" in path for path in changed(model, "a"))


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)


def test_a5_copies_injected_without_a_peft_model():
    sites = {"r": 2, "num_heads": 2, "target_modules": ["one"]}
    model = inject_adapter_in_model(AtlasConfig(**sites, modules_to_save=["two"]), Layers(), "a")
    assert model.two.modules_to_save["a"].weight.requires_grad
    inject_adapter_in_model(AtlasConfig(**sites, experience=["a"]), model, "b")
    for switch in (lambda: None, lambda: model.two.set_adapter("a"), lambda: model.two.enable_adapters(True)):
        switch()
        assert not model.two.modules_to_save["a"].weight.requires_grad
