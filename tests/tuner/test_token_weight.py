"""Tokens that count as one together in the pooling, `token_weight="shared"`, in a model; the maths is in `fusion`."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasModel, learn_sequence
from atlas_hf.tuner.route import routed
from shared.bare_backbones import backbone
from shared.comparing import seeded
from shared.tiny import learned, quick, randomize, splits, text_spec

TEXTS = [["a b c d e f"], ["h"], ["c c a"]]


@pytest.fixture(scope="module")
def shared(bert_folder):
    return learned(bert_folder, token_weight="shared")


def test_a_coefficient_does_not_depend_on_the_length(bert_folder, shared):
    """At the first site, of a text of one letter, repeated; words have places, so other sites see other tokens."""
    each = learned(bert_folder)
    apart = {}
    for name, model in {"each": each, "shared": shared}.items():
        site, x = next(iter(model.base_model.sites.values())), torch.randn(1, 3, 32)
        found = []
        for tokens in (x, x.repeat(1, 50, 1)):
            with routed(task="three", coefficients={}) as route, torch.no_grad():
                site(tokens)
            found.append(route.coefficients[site])
        apart[name] = (found[0] - found[1]).abs().max().item()
    assert apart["shared"] < 1e-5 and apart["each"] > 0.1


def test_the_windows_of_a_sequence_are_counted_together():
    torch.manual_seed(0)
    model = AtlasModel(backbone("bert"), config=AtlasConfig(r=2, token_weight="shared"))
    model.add_task(text_spec("one"))
    site, x = next(iter(model.base_model.sites.values())), torch.randn(6, 4, 16)
    found = []
    for tokens, sequences in ((x, 2), (x.reshape(2, 12, 16), None)):
        with routed(sequences=sequences, coefficients={}) as route, torch.no_grad():
            site(tokens)
        found.append(route.coefficients[site])
    assert torch.equal(*found)


def test_a_folder_and_plain_peft_keep_it(bert_folder, shared, tmp_path):
    shared.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "two/adapter_config.json").read_text())["token_weight"] == "shared"
    inputs, again = shared.preprocessor.encode_texts(TEXTS), AtlasModel.from_pretrained(tmp_path)
    peft = PeftModel.from_pretrained(
        AutoModel.from_pretrained(bert_folder), tmp_path, adapter_name="one", subfolder="one"
    )
    peft.load_adapter(tmp_path, "two", subfolder="two")
    peft.set_adapter("two", inference_mode=True)
    expected = seeded(shared, "two", **inputs)
    assert torch.equal(seeded(again, "two", **inputs), expected)
    assert torch.equal(peft.base_model.atlas_head["two"](peft.eval()(**inputs).pooler_output), expected)
    assert again.task_config.token_weight == "shared"  # of the next task
    assert not torch.equal(seeded(learned(bert_folder), "two", **inputs), expected)


def test_the_published_way_is_not_written_so_that_folders_stay_what_they_were(bert_folder, tmp_path):
    learned(bert_folder).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "two/adapter_config.json").read_text())
    assert "token_weight" not in config
    assert AtlasModel.from_pretrained(tmp_path).peft_config["two"].token_weight == "each"


def test_a_task_agrees_with_what_it_reuses(bert_folder):
    model = learned(bert_folder, ("one",))
    with pytest.raises(ValueError, match="'two' has token_weight='shared' and reuses 'one', which has 'each'; .* Use"):
        model.add_task(text_spec("two"), token_weight="shared")
    model.add_task(text_spec("two"), experience=(), token_weight="shared")


def test_a_task_begins_at_the_model_of_another(bert_folder):
    model = learned(bert_folder, token_weight="shared")
    model.add_task(text_spec("new"))
    model.base_model.begin_at("new", ["three"])
    inputs = model.preprocessor.encode_texts(TEXTS)
    assert torch.equal(model.pooled("new", **inputs), model.pooled("three", **inputs))


def test_a_sequence_goes_on_as_it_was_begun(bert_folder, tmp_path):
    args = quick(tmp_path, max_steps=1, experience_max_steps=1)
    stream = [(text_spec(f"has-{letter}"), splits(letter, 16, 8)) for letter in "ab"]

    def fresh(**config):
        return AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4, **config))

    learn_sequence(fresh(), stream[:1], args, tmp_path / "each")
    results = learn_sequence(fresh(token_weight="shared"), stream[:1], args, tmp_path / "shared")
    assert results["settings"]["token_weight"] == "shared"
    assert "| token_weight | shared |" in (tmp_path / "shared/README.md").read_text()
    with pytest.raises(ValueError, match=r"was learned with token_weight='each' \(now 'shared'\)\. Use the same"):
        learn_sequence(fresh(token_weight="shared"), stream, args, tmp_path / "each")
    with pytest.raises(ValueError, match=r"was learned with token_weight='shared' \(now 'each'\)\. Use the same"):
        learn_sequence(fresh(), stream, args, tmp_path / "shared")


@pytest.mark.slow
def test_a_compiled_backbone_takes_texts_of_any_length(shared):
    torch._dynamo.reset()
    compiled = torch.compile(shared.get_base_model(), backend="eager", fullgraph=True, dynamic=True)
    shared.set_task("three")
    for length in (3, 7, 12):
        inputs = {"input_ids": torch.arange(5, 5 + length)[None]}
        with torch.no_grad():
            found, expected = (forward(**inputs).pooler_output for forward in (compiled, shared.get_base_model()))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("stage", ["experience", "expansion"])
def test_both_stages_train(bert_folder, stage):
    model = learned(bert_folder, ("one", "two"), token_weight="shared")
    model.add_task(text_spec("new"))
    model.set_stage("new", stage)
    randomize(model, "new")
    model.train()(task="new", labels=torch.tensor([0, 1, 0]), **model.preprocessor.encode_texts(TEXTS)).loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert any({"experience": "experience_query.new", "expansion": "atlas_query.new"}[stage] in n for n in trained)
    assert all(
        gradient.isfinite().all() and gradient.any() for name, gradient in trained.items() if "atlas_head" not in name
    )
