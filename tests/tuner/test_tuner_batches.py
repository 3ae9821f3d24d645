"""Padding, gradient checkpointing and precision: how a batch is computed must not change what is computed."""

import pytest
import torch
import transformers
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasModel
from shared.bare_backbones import BACKBONES, TEXT, VISION, backbone
from shared.comparing import seeded
from shared.tiny import picture, randomize, text_spec

TEXTS = [["a b c d e f g h"], ["h"], ["c c a"]]


def learned(folder_or_backbone, spec=text_spec, **config):
    torch.manual_seed(0)
    if isinstance(folder_or_backbone, torch.nn.Module):
        model = AtlasModel(folder_or_backbone, config=AtlasConfig(r=4, **config))
    else:
        model = AtlasModel.from_pretrained(folder_or_backbone, config=AtlasConfig(r=4, **config))
    for i, name in enumerate(("one", "two")):
        model.add_task(spec(name))
        randomize(model, name, seed=i)
        model.set_stage(name, "complete" if name == "one" else "expansion")
    return model


def clip():
    """Its vision tower has 1 + 4 tokens; the tests give it texts of five."""
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
    return AutoModel.from_config(config)


def image_spec(name):
    return text_spec(name, image_columns=["image"])


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize("weighting", ["adapter", "channel"])
@pytest.mark.parametrize("token_weight", ["each", "shared"])
def test_a_text_alone_gets_the_answer_it_gets_in_a_padded_batch(bert_folder, variant, weighting, token_weight):
    model = learned(bert_folder, variant=variant, weighting=weighting, token_weight=token_weight)
    together = seeded(model, "two", **model.preprocessor.encode_texts(TEXTS))
    alone = [seeded(model, "two", **model.preprocessor.encode_texts([text])) for text in TEXTS]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["xlm-roberta", "electra", "deberta"])
def test_padding_counts_for_nothing_in_other_text_encoders(name):
    model = learned(backbone(name))
    ids, mask = torch.full((1, 4), 3), torch.ones(1, 4, dtype=torch.long)
    pad = AutoModel.from_config(BACKBONES[name][0]).config.pad_token_id or 0
    padded = {"input_ids": torch.cat([ids, torch.full((1, 3), pad)], 1)}
    padded["attention_mask"] = torch.cat([mask, torch.zeros(1, 3, dtype=torch.long)], 1)
    alone = seeded(model, "two", input_ids=ids, attention_mask=mask)
    torch.testing.assert_close(seeded(model, "two", **padded), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("token_weight", ["each", "shared"])
def test_images_of_two_sizes_and_texts_of_two_lengths_in_vilt(vilt_folder, token_weight):
    model = learned(vilt_folder, image_spec, token_weight=token_weight)
    rows = [
        {"text": "a b c d", "image": picture("red", (32, 16))},
        {"text": "c", "image": picture("blue", (16, 16))},
    ]
    collate = model.collator("two")
    batch = collate.inputs(rows)
    assert not batch["pixel_mask"].all() and not batch["attention_mask"].all()
    alone = [seeded(model, "two", **collate.inputs([row])) for row in rows]
    torch.testing.assert_close(seeded(model, "two", **batch), torch.cat(alone), atol=1e-5, rtol=0)


def test_the_text_mask_does_not_hide_as_many_patches():
    model = learned(clip(), image_spec)
    pixels, ids = torch.randn(1, 3, 16, 16), torch.tensor([[5, 6, 1, 0, 0]])
    short = seeded(model, "two", input_ids=ids[:, :3], attention_mask=ids[:, :3] * 0 + 1, pixel_values=pixels)
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    assert len(model.coefficients("two", input_ids=ids, attention_mask=mask, pixel_values=pixels)) == 8
    long = seeded(model, "two", input_ids=ids, attention_mask=mask, pixel_values=pixels)
    torch.testing.assert_close(long, short, atol=1e-5, rtol=0)


def gradients(model, between=lambda: None, **inputs):
    """Of task `two`, in training mode; `between` runs after the forward and before the backward pass."""
    model.train().zero_grad()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.manual_seed(0)
    loss = model(task="two", **inputs).logits.square().sum()
    between()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found, expected):
    assert found.keys() == expected.keys() and expected
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(bert_folder, reentrant):
    """The second computation must see the mask and the task of the first, whatever was asked in between."""
    model = learned(bert_folder)
    model.set_task("one")
    model.base_model.set_requires_grad("two")
    inputs = model.preprocessor.encode_texts(TEXTS)
    expected = gradients(model, **inputs)
    assert len(expected) == 2 * 2 * 6 + 6
    backbone = model.get_base_model()
    backbone.enable_input_require_grads()
    backbone.gradient_checkpointing_enable({"use_reentrant": reentrant})
    other = model.preprocessor.encode_texts([["a"]])
    assert_same(gradients(model, lambda: model(task="one", **other), **inputs), expected)


def test_gradient_checkpointing_in_vilt_sees_the_joint_mask(vilt_folder):
    model = learned(vilt_folder, image_spec)
    rows = [{"text": "a b c d", "image": picture("red", (32, 16))}, {"text": "c", "image": picture()}]
    inputs = model.collator("two").inputs(rows)
    expected = gradients(model, **inputs)
    model.gradient_checkpointing_enable()
    assert_same(gradients(model, **inputs), expected)


def test_gradient_checkpointing_in_clip_keeps_the_text_mask_from_the_patches():
    model = learned(clip(), image_spec)
    inputs = {"input_ids": torch.tensor([[5, 6, 1, 0, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 0, 0]])}
    inputs["pixel_values"] = torch.ones(1, 3, 16, 16)
    expected = gradients(model, **inputs)
    model.gradient_checkpointing_enable()
    assert_same(gradients(model, **inputs), expected)


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize("weighting", ["adapter", "channel"])
@pytest.mark.parametrize("token_weight", ["each", "shared"])
def test_bf16_autocast_is_close_and_finite(bert_folder, variant, weighting, token_weight):
    model = learned(bert_folder, variant=variant, weighting=weighting, token_weight=token_weight)
    inputs = model.preprocessor.encode_texts(TEXTS)
    exact = seeded(model, "two", **inputs)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(task="two", **inputs).logits
        logits.float().square().sum().backward()
    torch.testing.assert_close(logits.float(), exact, atol=0.1, rtol=0.1)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_adapters_and_heads_of_a_half_precision_backbone_stay_in_float32(bert_folder, tmp_path, dtype):
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4), dtype=dtype)
    model.add_task(text_spec("one"))
    inputs = model.preprocessor.encode_texts(TEXTS)
    logits = model(**inputs).logits
    assert {p.dtype for name, p in model.named_parameters() if "atlas_" in name} == {torch.float32}
    assert {p.dtype for name, p in model.named_parameters() if "atlas_" not in name} == {dtype}
    assert model.pooled("one", **inputs).dtype == dtype and logits.dtype == torch.float32
    assert logits.isfinite().all()
    model.save_pretrained(tmp_path)
    again = AtlasModel.from_pretrained(tmp_path)
    assert again.get_base_model().dtype == dtype
    assert torch.equal(seeded(again, "one", **inputs), logits.detach())
