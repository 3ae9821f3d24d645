"""Which modules ATLAS wraps, and what it says where it cannot."""

import pytest
import torch
import transformers
from peft import get_peft_model

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.tuner.backbones import TARGET_MODULES, attention_heads
from shared.bare_backbones import BACKBONES, DENSE, TEXT, backbone, inputs_for
from shared.tiny import text_spec


def paths(model):
    return list(model.base_model.sites)


@pytest.mark.parametrize("name", BACKBONES)
def test_default_sites_are_two_per_layer_and_nothing_else(name):
    model = AtlasModel(backbone(name), config=AtlasConfig(r=2))
    assert model.get_base_model().config.model_type == name
    model.add_task(text_spec("one"))
    expected = [path.format(layer) for path in BACKBONES[name][1] for layer in range(2)]
    assert sorted(paths(model)) == sorted(expected)
    assert all(isinstance(site.base_layer, torch.nn.Linear) for site in model.base_model.sites.values())
    assert model.peft_config["one"].num_heads == 2
    logits = model(**inputs_for(name)).logits
    logits.sum().backward()
    assert logits.shape == (2, 2)
    assert all(site.atlas_up["one"].weight.grad is not None for site in model.base_model.sites.values())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"target_modules": ["intermediate.dense"]}, [f"encoder.layer.{i}.intermediate.dense" for i in range(2)]),
        ({"target_modules": r".*layer\.1\.(attention\.)?output\.dense"}, [path.format(1) for path in DENSE]),
        ({"layers_to_transform": [1]}, [path.format(1) for path in DENSE]),
        ({"layers_to_transform": 0, "target_modules": ["attention.output.dense"]}, [DENSE[0].format(0)]),
        ({"exclude_modules": r".*layer\.0.*"}, [path.format(1) for path in DENSE]),
        ({"target_modules": ["pooler.dense"]}, ["pooler.dense"]),
    ],
)  # fmt: skip
def test_chosen_sites(config, expected):
    model = AtlasModel(backbone("bert"), config=AtlasConfig(r=2, **config))
    model.add_task(text_spec("one"))
    model.set_stage("one", "complete")
    model.add_task(text_spec("two"))
    assert paths(model) == expected
    assert all(list(site.atlas_config) == ["one", "two"] for site in model.base_model.sites.values())
    assert model(**inputs_for("bert")).logits.shape == (2, 2)


def test_a_regex_does_not_reach_into_the_sites_it_has_made():
    model = AtlasModel(backbone("bert"), config=AtlasConfig(r=3, target_modules=r".*output\.dense.*"))
    for name in ("one", "two"):
        model.add_task(text_spec(name))
        model.set_stage(name, "complete")
    assert paths(model) == [path.format(layer) for layer in range(2) for path in DENSE]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"target_modules": ["output.LayerNorm"]}, "site '.*output.LayerNorm' is a LayerNorm; a site must be a"),
        ({"target_modules": ["word_embeddings"]}, "is a Embedding; a site must be a linear module"),
        ({"target_modules": ["nowhere"]}, "Target modules .*nowhere.* not found in the base model"),
        ({"num_heads": 3}, "num_heads is 3, which does not divide the site's width 16; give one that does"),
        ({"variant": "other"}, "variant is 'other'; possible are paper, reference"),
        ({"weighting": "token"}, "weighting is 'token'; possible are adapter, channel"),
        ({"token_weight": "none"}, "token_weight is 'none'; possible are each, shared"),
        ({"num_queries": 3}, "num_queries is 3; weighting='adapter' takes 1"),
        ({"r": 0}, "r is 0; give a whole number"),
        ({"r": True}, "r is True; give a whole number"),
        ({"target_modules": ".*dense", "layers_to_transform": [0]}, "or write the layers into the regex"),
    ],
)  # fmt: skip
def test_wrong_sites_and_numbers_leave_the_model_as_it_was(change, error):
    model = AtlasModel(backbone("bert"), config=AtlasConfig(r=2))
    model.add_task(text_spec("one"))
    before, names = str(model.base_model), [name for name, p in model.named_parameters() if p.requires_grad]
    with pytest.raises(ValueError, match=error):
        model.add_task(text_spec("two"), experience=(), **change)
    assert str(model.base_model) == before and model.tasks == ["one"] and model.task == "one"
    assert [name for name, p in model.named_parameters() if p.requires_grad] == names
    model.add_task(text_spec("two"))


def test_a_task_must_agree_with_what_it_reuses():
    model = AtlasModel(backbone("bert"), config=AtlasConfig(r=2))
    model.add_task(text_spec("one"))
    model.set_stage("one", "complete")
    with pytest.raises(ValueError, match="'two' has layers_to_transform=\\[1\\] and reuses 'one', which has None"):
        model.add_task(text_spec("two"), layers_to_transform=[1])
    model.add_task(text_spec("two"), r=5, variant="reference")
    assert model.peft_config["two"].r == 5


def test_a_backbone_without_default_sites_says_how_to_name_them():
    config = transformers.AlbertConfig(**TEXT, embedding_size=8)
    model = AtlasModel(transformers.AutoModel.from_config(config), config=AtlasConfig(r=2))
    with pytest.raises(ValueError, match="no default sites for model_type 'albert'; known are vilt.*target_modules="):
        model.add_task(text_spec("one"))
    assert model.tasks == [] and paths(model) == []
    model.add_task(text_spec("one"), target_modules=["attention.dense", "ffn_output"])
    assert len(paths(model)) == 2


TINY = {"n_embd": 16, "n_layer": 1, "n_head": 2}
SIDES = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads", "ffn_dim")}
IDENTITIES = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
DECODERS = {
    "gpt2": transformers.GPT2Config(**TINY, vocab_size=30, bos_token_id=0, eos_token_id=1),
    "llama": transformers.LlamaConfig(**TEXT),
    # Its modules do not say that they are causal.
    "bloom": transformers.BloomConfig(hidden_size=16, n_layer=1, n_head=2, vocab_size=30),
    "bert": transformers.BertConfig(**TEXT, is_decoder=True),
}
PAIRS = {
    "t5": transformers.T5Config(d_model=16, num_layers=1, num_heads=2, d_kv=8, d_ff=16, vocab_size=30),
    "bart": transformers.BartConfig(**SIDES, **IDENTITIES, d_model=16, vocab_size=30),
    "whisper": transformers.WhisperConfig(**SIDES, **IDENTITIES, d_model=16, vocab_size=30, max_source_positions=50),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_causal_decoder_is_refused_with_the_reason(name):
    model = transformers.AutoModel.from_config(DECODERS[name])
    reason = "is a causal decoder. ATLAS needs an encoder: its coefficients read the whole sequence, so that in a "
    reason += "decoder a token would see those that come after it. Choose an encoder such as BERT"
    for wrap in (AtlasModel, lambda model: get_peft_model(model, AtlasConfig(r=2, target_modules=["dense"]))):
        with pytest.raises(ValueError, match=f"{type(model).__name__} {reason}"):
            wrap(model)
    assert not [name for name, _ in model.named_parameters() if "atlas" in name]


@pytest.mark.parametrize("name", PAIRS)
def test_an_encoder_with_a_decoder_is_refused_and_its_encoder_is_not(name):
    model = transformers.AutoModel.from_config(PAIRS[name])
    reason = "has an encoder and a decoder. ATLAS needs an encoder: its coefficients read the whole sequence, .* Give "
    with pytest.raises(ValueError, match=f"{type(model).__name__} {reason}its encoder alone: AtlasModel"):
        AtlasModel(model)
    sites = ["SelfAttention.o", "wo"] if name == "t5" else ["out_proj", "fc2"]
    alone = AtlasModel(model.get_encoder(), config=AtlasConfig(r=2, target_modules=sites))
    alone.add_task(text_spec("one"))
    assert len(paths(alone)) == 2 * getattr(PAIRS[name], "encoder_layers", 1)


def test_an_encoder_that_has_a_sibling_that_generates_is_not_refused():
    for config in (transformers.XLNetConfig(d_model=16, n_layer=1, n_head=2, d_inner=24, vocab_size=30),
                   transformers.BertGenerationConfig(**TEXT)):  # fmt: skip
        AtlasModel(transformers.AutoModel.from_config(config))


def test_the_patterns_of_every_architecture_can_be_loaded_from_a_file():
    for pattern in TARGET_MODULES.values():
        AtlasConfig(target_modules=pattern).check_patterns()


def test_the_heads_fit_every_tower_and_stage():
    """CLIP ViT-B/32 has 12 heads in 768 channels and 8 in 512; Swin-T 3, 6, 12, 24."""
    assert attention_heads(transformers.CLIPConfig().to_dict()) == 4
    assert attention_heads(transformers.SwinConfig().to_dict()) == 3
    assert attention_heads(transformers.BertConfig().to_dict()) == 12
    assert attention_heads(transformers.WhisperConfig().to_dict()) == 6
    assert attention_heads(transformers.ResNetConfig().to_dict()) == 1
