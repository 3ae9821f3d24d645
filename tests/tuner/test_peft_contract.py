"""What PEFT promises of every method, without `AtlasModel`: which adapter trains, which is active, what is saved."""

import json

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, inject_adapter_in_model
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, BertModel

from atlas_hf import AtlasConfig, AtlasModel
from shared.tiny import text_spec

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
}  # fmt: skip
IDS = {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])}


class Layers(nn.Module):
    """Three linear modules, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.three(self.two(self.one(x)))


def layers(seed: int = 0) -> Layers:
    torch.manual_seed(seed)
    return Layers()


def classifier(labels: int = 3) -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SIZES, num_labels=labels)).eval()


def on(*names, **more):
    return AtlasConfig(r=2, num_heads=2, target_modules=list(names), **more)


def seq_cls(**more):
    return AtlasConfig(r=2, task_type="SEQ_CLS", init_weights=False, **more)


def trains(model, name):
    return {p.requires_grad for path, p in model.named_parameters() if f".{name}." in f"{path}."}


def test_b8_the_classifier_is_trained_and_saved(tmp_path):
    model = get_peft_model(classifier(), seq_cls())
    head = model.base_model.model.classifier
    assert set(model.peft_config["default"].modules_to_save) == {"classifier", "score"}
    assert all(p.requires_grad for p in head.modules_to_save["default"].parameters())
    assert not any(p.requires_grad for p in head.original_module.parameters())
    model.train()(**IDS, labels=torch.tensor([0, 1, 2])).loss.backward()
    assert head.modules_to_save["default"].weight.grad.any()
    with torch.no_grad():
        head.modules_to_save["default"].weight.add_(1.0)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(classifier(), tmp_path)
    assert torch.equal(again.eval()(**IDS).logits, model.eval()(**IDS).logits)
    with again.disable_adapter():
        assert torch.equal(again(**IDS).logits, classifier()(**IDS).logits)


def test_b8_each_adapter_has_its_own_classifier():
    model = get_peft_model(classifier(), seq_cls(), "a")
    model.add_adapter("b", seq_cls())
    head = model.base_model.model.classifier
    with torch.no_grad():
        head.modules_to_save["b"].weight.add_(1.0)
    assert trains(model, "a") == {True} and trains(model, "b") == {False}
    model.set_adapter("b")
    assert trains(model, "a") == {False} and trains(model, "b") == {True}
    assert head.active_adapters == ["b"]
    by_name = {}
    with torch.no_grad():
        for name in ("a", "b"):
            model.set_adapter(name)
            by_name[name] = model.eval()(**IDS).logits
        mixed = model(**IDS, adapter_names=["a", "b", "__base__"]).logits
        bare = classifier()(**IDS).logits
    expected = torch.stack([by_name["a"][0], by_name["b"][1], bare[2]])
    torch.testing.assert_close(mixed, expected, atol=1e-6, rtol=1e-5)
    model.delete_adapter("b")
    assert list(head.modules_to_save) == ["a"] and head.active_adapters == ["a"]


def test_b8_a_later_adapter_may_have_a_classifier_where_the_first_has_none():
    model = get_peft_model(layers(), on("one"), "a")
    model.add_adapter("b", on("one", modules_to_save=["three"]))
    three = model.base_model.model.three
    assert three.active_adapters == [] and trains(three, "b") == {False}
    model.set_adapter("b")
    assert three.active_adapters == ["b"] and trains(three, "b") == {True}
    model.set_adapter("a")
    assert three.active_adapters == [] and trains(three, "b") == {False}


def test_b8_an_atlas_model_refuses_modules_to_save():
    model = AtlasModel(BertModel(BertConfig(**SIZES)), config=AtlasConfig(r=2))
    with pytest.raises(ValueError, match=r"modules_to_save is \['pooler'\]; a task of an AtlasModel has a head"):
        model.add_task(text_spec("one"), modules_to_save=["pooler"])
    assert model.tasks == []


@pytest.mark.parametrize("is_trainable", [False, True])
def test_b9_loading_an_adapter_leaves_those_before_as_they_were(tmp_path, is_trainable):
    get_peft_model(layers(), on("one")).save_pretrained(tmp_path)
    model = PeftModel.from_pretrained(layers(), tmp_path, is_trainable=is_trainable)
    model.load_adapter(tmp_path, "other", is_trainable=is_trainable)
    model.load_adapter(tmp_path, "opposite", is_trainable=not is_trainable)
    model.add_adapter("added", on("one"))
    model.add_adapter("elsewhere", on("two"))
    expected = {
        "default": is_trainable, "other": is_trainable, "opposite": not is_trainable, "added": False,
        "elsewhere": False,
    }  # fmt: skip
    assert {name: trains(model, name) for name in expected} == {name: {value} for name, value in expected.items()}


def test_b9_heads_of_those_before_stay_as_they_were():
    head = {"problem_type": "regression", "in_features": 8, "num_labels": 1}
    model = get_peft_model(layers(), on("one", head=head))
    for name, config in (("frozen", on("one", inference_mode=True)), ("elsewhere", on("two", inference_mode=True))):
        model.add_adapter(name, config)
        assert trains(model, "default") == {True}
    model.set_adapter("default", inference_mode=True)
    model.add_adapter("new", on("three", head=head))
    assert trains(model, "default") == {False} and trains(model, "new") == {False}


def test_b11_an_adapter_at_other_sites_is_not_active_there():
    model, x = get_peft_model(layers(), on("one", "two"), "a").eval(), torch.randn(4, 8)
    before = model(x)
    model.add_adapter("b", on("two", "three", init_weights=False))
    sites = [model.base_model.model.get_submodule(name) for name in ("one", "two", "three")]
    assert all(site.active_adapters == ["a"] for site in sites)
    assert torch.equal(model(x), before) and trains(model, "b") == {False}
    for name in ("b", "a"):
        model.set_adapter(name)
        assert model.active_adapters == [name] and all(site.active_adapters == [name] for site in sites)
    assert torch.equal(model(x), before)


def test_names_of_sites_are_sets_and_saved_in_one_order(tmp_path):
    names = ["two", "one", "three"]
    model = get_peft_model(layers(), on(*names, exclude_modules=["b", "a"]))
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["target_modules"] == sorted(names) and saved["exclude_modules"] == ["a", "b"]
    assert "modules_to_save" not in saved, "readers that do not know it would warn"
    again = PeftConfig.from_pretrained(tmp_path)
    assert again.target_modules == set(names) == model.peft_config["default"].target_modules
    assert again.exclude_modules == {"a", "b"}
    assert AtlasConfig(target_modules=".*one").target_modules == ".*one"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"target_modules": ".*", "layers_to_transform": [0]}, "`layers_to_transform` cannot be used when .* a str."),
        ({"target_modules": ".*", "layers_pattern": ["x"]}, "`layers_pattern` cannot be used when .* a str."),
        ({"layers_pattern": "layer"}, "When `layers_pattern` is specified, `layers_to_transform` must also .* Give"),
        ({"modules_to_save": "classifier"}, "modules_to_save is 'classifier'; give a list of names"),
        ({"modules_to_save": [1]}, r"modules_to_save is \[1\]; give a list of names"),
        ({"task_type": "x"}, "Invalid task type: 'x'. Must be one of the following task types: "),
    ],
)
def test_configs_refuse_in_pefts_words(change, error):
    with pytest.raises(ValueError, match=error):
        AtlasConfig(**change)


def test_wrong_names_lengths_and_targets_in_pefts_words():
    model, x = get_peft_model(layers(), on("one"), "a").eval(), torch.randn(9, 8)
    model.add_adapter("b", on("one"))
    cases = [
        (lambda: model(x, adapter_names=["a"] * 8 + ["c"]), r"Trying to infer with non-existing adapter\(s\): c."),
        (lambda: model(x, adapter_names=["a"] * 3), "Length of `adapter_names` should be .* but got 3 and 9 resp"),
        (lambda: model(x, adapter_names="a"), "adapter_names is 'a'; give a list with a name for each row: a, b, or"),
        (lambda: model.train()(x, adapter_names=["a"] * 9), "Cannot pass `adapter_names` when the model is in train"),
        (lambda: model.set_adapter("c"), "Adapter c not found"),
        (lambda: model.base_model.set_adapter(["a", "c"]), "Adapter c not found. There are a, b"),
        (lambda: model.delete_adapter("c"), "Adapter c does not exist"),
        (lambda: model.add_adapter("a", on("one")), "Adapter with name 'a' already exists"),
        (lambda: model.add_adapter("c", on("nowhere")), "Target modules .*nowhere.* not found in the base model"),
        (lambda: model.add_adapter("c", AtlasConfig(num_heads=2)), "Please specify `target_modules` in `peft_config`"),
    ]
    for call, error in cases:
        with pytest.raises(ValueError, match=error):
            call()
    assert list(model.peft_config) == ["a", "b"] and model.active_adapters == ["a"]
    with pytest.warns(UserWarning, match="Already unmerged. Nothing to do."):
        model.unmerge_adapter()


def test_a_second_get_peft_model_on_the_same_model_warns_and_works():
    model = layers()
    get_peft_model(model, on("one"))
    with pytest.warns(UserWarning, match="You are trying to modify a model with PEFT for a second time"):
        again = get_peft_model(model, on("one"))
    assert trains(again, "default") == {True}


def test_a_deleted_adapter_leaves_nothing_behind():
    model = get_peft_model(layers(), on("one"))
    site = model.base_model.model.one
    frozen = site.frozen_peft_weight_names
    assert frozen["default"] == ("atlas_experience_query",) and list(frozen) == ["default"] and len(frozen) == 1
    model.delete_adapter("default")
    assert "default" not in frozen and "default" not in site.atlas_config


def test_what_somebody_froze_or_opened_stays_so_when_an_adapter_is_loaded(tmp_path):
    get_peft_model(layers(), on("one")).save_pretrained(tmp_path)
    model = get_peft_model(layers(), on("one"))
    site = model.base_model.model.one
    site.base_layer.weight.requires_grad_(True)
    site.atlas_down["default"].weight.requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    model.load_adapter(tmp_path, "other")
    after = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert {name: after[name] for name in before} == before and trains(model, "other") == {False}


def test_adapters_are_injected_where_a_state_dict_has_them():
    model = inject_adapter_in_model(on("one", modules_to_save=["three"]), layers())
    state = get_peft_model_state_dict(model)
    assert {key.partition(".")[0] for key in state} == {"one", "three"}
    sites = {key: value for key, value in state.items() if ".atlas_" in key}
    again = inject_adapter_in_model(on("one"), layers(), state_dict=sites)
    assert get_peft_model_state_dict(again).keys() == sites.keys()


@pytest.mark.parametrize("names", [["one"], ["two"]])
def test_injecting_into_one_model_twice_adds_two_adapters(names):
    """Each `inject_adapter_in_model` makes a tuner of its own, which must see what those before it did."""
    model = inject_adapter_in_model(on("one", init_weights=False), layers(), "a")
    x = torch.ones(1, 8)
    first = model(x)
    inject_adapter_in_model(on(*names, init_weights=False), model, "b")
    added = getattr(model, names[0])
    assert "b" in added.atlas_config
    assert model.one.active_adapters == added.active_adapters == ["b"]
    assert not torch.equal(model(x), first)
    for site in (model.one, added):
        site.set_adapter("a")
    assert torch.equal(model(x), first)


def test_a_reused_adapter_that_was_injected_before_is_known_by_its_content():
    model = inject_adapter_in_model(on("one"), layers(), "a")
    inject_adapter_in_model(on("one", experience=["a"]), model, "b")
    another = inject_adapter_in_model(on("one"), layers(seed=1), "a")
    inject_adapter_in_model(on("one", experience=["a"]), another, "b")
    digests = [one.peft_config["b"].experience_sha256["a"] for one in (model, another)]
    assert digests[0] != digests[1]
    assert trains(model, "a") == {False}
