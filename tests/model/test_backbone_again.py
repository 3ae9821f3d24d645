"""What can be saved can be loaded: a backbone that is quantized, edited or unknown to AutoModel is refused before."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModel, BertForMaskedLM, BertModel

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer
from shared.comparing import Unchanged, seeded
from shared.tiny import learned, quick, text_data, text_spec

CHANGED = r"The backbone was changed after the tasks \['one', 'two'\] were learned on it: .* could not be loaded again"


def edit(model):
    model.get_base_model().pooler.dense.bias.data[0] += 1  # torch counts no such write


def resize(model):
    model.get_base_model().resize_token_embeddings(40, mean_resizing=False)


def cast(model):
    for parameter in model.get_base_model().embeddings.parameters():
        parameter.data = parameter.data.bfloat16()


def train(model, folder, task="new"):
    if task not in model.tasks:
        model.add_task(text_spec(task))
    AtlasTrainer(model, quick(folder, max_steps=1), task, train_dataset=text_data("b", 16)).train()


@pytest.mark.parametrize("change", [edit, resize, cast])
def test_a7_an_edited_backbone_is_neither_saved_nor_learned_on(bert_folder, tmp_path, change):
    model = learned(bert_folder, ("one", "two"))
    model.save_pretrained(tmp_path / "out")
    again = AtlasModel.from_pretrained(tmp_path / "out")
    for one in (model, again):
        change(one)
        with Unchanged(one, tmp_path), pytest.raises(ValueError, match=CHANGED):
            one.save_pretrained(tmp_path / "out")
        with Unchanged(one, tmp_path), pytest.raises(ValueError, match=CHANGED):
            one.save_pretrained(tmp_path / "new")
        one.add_task(text_spec("three"))
        with Unchanged(one, tmp_path), pytest.raises(ValueError, match="was changed after the tasks"):
            train(one, tmp_path / "checkpoints", "three")
    assert AtlasModel.from_pretrained(tmp_path / "out").tasks == ["one", "two"]


@pytest.mark.parametrize("change", [edit, resize])
def test_a7_a_backbone_edited_before_the_first_save_is_refused(bert_folder, tmp_path, change):
    model = learned(bert_folder, ("one",))
    change(model)
    text = r"could not be loaded again: .* gives a BertModel with other .* Save it, and begin with what was saved"
    with Unchanged(model, tmp_path), pytest.raises(ValueError, match=text):
        model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=text):
        train(model, tmp_path)
    with pytest.raises(ValueError, match="backbone differs"):  # looked at anew, not remembered
        model.load_tasks(_saved(bert_folder, tmp_path / "saved"))


def _saved(bert_folder, folder):
    learned(bert_folder, ("other",)).save_pretrained(folder)
    return folder


def test_a7_a_converted_backbone_answers_and_does_not_learn(bert_folder, tmp_path):
    learned(bert_folder, ("one", "two")).save_pretrained(tmp_path / "out")
    half = AtlasModel.from_pretrained(tmp_path / "out", tasks=["one"], dtype=torch.bfloat16)
    half.load_tasks(tmp_path / "out")
    half.save_pretrained(tmp_path / "again")
    assert half.index() == AtlasModel.from_pretrained(tmp_path / "again").index()
    half.add_task(text_spec("new"))
    with pytest.raises(ValueError, match="in bfloat16 now, .* in float32 then"):
        train(half, tmp_path)


def test_a6_the_backbone_that_atlas_json_names_is_this_one_before_training(bert_folder, tmp_path):
    masked = [BertForMaskedLM.from_pretrained(bert_folder) for _ in range(2)]
    for backbone, what in ((masked[0], "BertForMaskedLM"), (masked[1].bert, "pooler")):
        model = AtlasModel(backbone, config=AtlasConfig(r=2), base_id=str(bert_folder))
        model.add_task(text_spec("one"))
        with Unchanged(model, tmp_path), pytest.raises(ValueError, match=f"could not be loaded again: .*{what}.*Save"):
            model.save_pretrained(tmp_path)


def test_a6_weights_that_loading_draws_anew_are_refused_before_training(bert_folder, tmp_path):
    """As roberta-base, whose folder has no pooler."""
    bare = BertModel.from_pretrained(bert_folder, add_pooling_layer=False)
    bare.save_pretrained(tmp_path / "bare")
    model = AtlasModel.from_pretrained(tmp_path / "bare", config=AtlasConfig(r=2))
    model.add_task(text_spec("one"))
    state = torch.get_rng_state()
    with Unchanged(model), pytest.raises(ValueError, match="other weights: pooler.dense.weight. Save it, and begin"):
        model.check_backbone()
    assert torch.equal(torch.get_rng_state(), state)
    model.unload().save_pretrained(tmp_path / "whole")
    again = AtlasModel.from_pretrained(tmp_path / "whole", config=AtlasConfig(r=2))
    again.add_task(text_spec("one"))
    again.save_pretrained(tmp_path / "out")
    assert AtlasModel.from_pretrained(tmp_path / "out").tasks == ["one"]


def test_a6_who_passes_the_backbone_on_loading_says_so(bert_folder, tmp_path):
    def edited():
        backbone = AutoModel.from_pretrained(bert_folder)
        backbone.pooler.dense.bias.data[0] += 1
        return backbone

    model = AtlasModel(edited(), config=AtlasConfig(r=2), base_id="")
    model.add_task(text_spec("one"))
    model.save_pretrained(tmp_path)
    again = AtlasModel.from_pretrained(tmp_path, backbone=edited())
    inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
    assert torch.equal(seeded(again, "one", **inputs), seeded(model, "one", **inputs))
    with pytest.raises(ValueError, match="does not say which backbone to load; pass backbone="):
        AtlasModel.from_pretrained(tmp_path)


class FourBit(torch.nn.Parameter):
    """As bitsandbytes' Params4bit: packed numbers in a parameter of its own kind."""


def packed(backbone):
    weight = torch.zeros(8, 1, dtype=torch.uint8)
    backbone.pooler.dense.weight = FourBit(weight, requires_grad=False)


def eight_bit(backbone):
    backbone.pooler.dense.weight = torch.nn.Parameter(torch.zeros(8, 8, dtype=torch.int8), requires_grad=False)


def marked(backbone):
    backbone.is_quantized, backbone.quantization_method = True, SimpleNamespace(value="gptq")


def float8(backbone):
    backbone.pooler.dense.to(torch.float8_e4m3fn)


def dynamic(backbone):
    torch.ao.quantization.quantize_dynamic(backbone, {torch.nn.Linear}, inplace=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("quantize", "what"),
    [(packed, "FourBit in uint8"), (eight_bit, "Parameter in int8"), (marked, "gptq"), (float8, "float8_e4m3fn"),
     (dynamic, "tuple|dtype")],
)  # fmt: skip
def test_a6_a_quantized_backbone_is_refused_before_anything(bert_folder, quantize, what):
    backbone = AutoModel.from_pretrained(bert_folder)
    quantize(backbone)
    shown = str(backbone)
    with pytest.raises(ValueError, match=rf"The backbone is quantized \(.*({what}).*Load it without .*plain PEFT"):
        AtlasModel(backbone, config=AtlasConfig(r=2))
    assert str(backbone) == shown
