"""The API in orders that nobody meant: refused in a sentence before anything moves, and never wrong without a word."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, BertConfig, BertModel

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer
from shared.comparing import Unchanged
from shared.tiny import learned, make_tokenizer, quick, text_data, text_spec

TEXTS = ["a b", "c d e"]


def in_float64(model):
    for site in model.base_model.sites.values():
        site.cast("one", torch.float64)


def not_finite(model):
    next(model.heads["one"].parameters()).data.fill_(float("nan"))


SPOILED = [
    (lambda model: model.half(), "is torch.float16; adapters and heads are kept in float32"),
    (lambda model: model.double(), "is torch.float64; adapters and heads are kept in float32"),
    (in_float64, "is torch.float64; adapters and heads are kept in float32"),
    (not_finite, "holds NaN or infinite values. Learn the task again"),
]


@pytest.mark.parametrize(("spoil", "error"), SPOILED)
def test_what_could_not_be_loaded_again_is_neither_trained_nor_saved(bert_folder, tmp_path, spoil, error):
    model = learned(bert_folder, ["one"])
    model.add_task(text_spec("two"))
    spoil(model)
    with Unchanged(model):
        with pytest.raises(ValueError, match=f"Task 'one': .*{error}"):
            AtlasTrainer(model, quick(tmp_path), train_dataset=text_data("b", 16)).train()
        with pytest.raises(ValueError, match=f"Task 'one': .*{error}|The backbone could not be loaded again"):
            model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_adapters_that_are_switched_off_do_not_train_without_a_word(bert_folder, tmp_path):
    model = learned(bert_folder, ["one"])
    model.add_task(text_spec("two"))
    trainer = AtlasTrainer(model, quick(tmp_path), train_dataset=text_data("b", 16))
    with model.disable_adapter(), Unchanged(model), pytest.raises(ValueError, match="The adapters are switched off"):
        trainer.train()


def test_a_task_on_a_backbone_in_float64_loads_again(bert_folder, tmp_path):
    model = AtlasModel.from_pretrained(bert_folder, dtype="float64", config=AtlasConfig(r=4))
    model.add_task(text_spec("one"))
    AtlasTrainer(model, quick(tmp_path, max_steps=1), train_dataset=text_data("b", 16)).train()
    model.save_pretrained(tmp_path / "saved")
    assert AtlasModel.from_pretrained(tmp_path / "saved").predict("one", texts=TEXTS) == model.predict(
        "one", texts=TEXTS
    )


def test_after_unload_nothing_is_asked_and_what_was_saved_stays(bert_folder, tmp_path):
    model = learned(bert_folder, ["one"])
    expected = model.predict("one", texts=TEXTS)
    model.save_pretrained(tmp_path)
    model.unload()
    for call in (lambda: model.predict("one", texts=TEXTS), lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(ValueError, match=r"unload\(\) took the adapters off this model"):
            call()
    assert AtlasModel.from_pretrained(tmp_path).predict("one", texts=TEXTS) == expected


def test_other_tasks_of_the_same_names_are_not_mixed(bert_folder, tmp_path):
    model = learned(bert_folder, ["one", "two"])
    expected = model.predict("two", texts=TEXTS)
    model.save_pretrained(tmp_path)
    other = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=2))
    for name in ("one", "two"):
        other.add_task(text_spec(name))
        other.set_stage(name, "complete")
    with pytest.raises(ValueError, match=r"holds other tasks of the names \['one'\] than the model does, and is left"):
        other.save_pretrained(tmp_path, tasks=["two"])
    assert AtlasModel.from_pretrained(tmp_path).predict("two", texts=TEXTS) == expected
    other.delete_task("two")
    with (
        Unchanged(other),
        pytest.raises(ValueError, match=r"holds other tasks of the names \['one'\] than the folder"),
    ):
        other.load_tasks(tmp_path, ["one"])


@pytest.mark.parametrize("place", [("", {"subfolder": "one"}), ("one", {})])
def test_load_adapter_looks_at_the_backbone(bert_folder, tmp_path, place):
    learned(bert_folder, ["one"]).save_pretrained(tmp_path / "saved")
    torch.manual_seed(8)
    BertModel(BertConfig.from_pretrained(bert_folder)).save_pretrained(tmp_path / "other")
    model = AtlasModel.from_pretrained(tmp_path / "other")
    with Unchanged(model), pytest.raises(ValueError, match="The backbone differs from the one that the tasks were"):
        model.load_adapter(tmp_path / "saved" / place[0], "one", **place[1])


def test_transformers_does_not_delete_what_others_reuse(bert_folder, tmp_path):
    learned(bert_folder, ["one", "two"]).save_pretrained(tmp_path)
    backbone = AutoModel.from_pretrained(bert_folder)
    for name in ("one", "two"):
        backbone.load_adapter(str(tmp_path / name), adapter_name=name)
    inputs = {"input_ids": torch.tensor([[2, 5, 6, 3]])}
    expected = backbone(**inputs).last_hidden_state
    with pytest.raises(ValueError, match=r"Task 'one' cannot be deleted: 'two' reuse\(s\) it"):
        backbone.delete_adapter("one")
    assert torch.equal(backbone(**inputs).last_hidden_state, expected)


def on_meta(folder):
    return BertModel(BertConfig.from_pretrained(folder)).to("meta")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda folder: AtlasModel(on_meta(folder)), "has no values in .* tensors, such as embeddings"),
        (lambda folder: AtlasModel(learned(folder, ["one"])), "is a AtlasModel; give a model of transformers"),
        (
            lambda folder: AtlasModel(
                get_peft_model(AutoModel.from_pretrained(folder), LoraConfig(target_modules=["query"]))
            ),
            "is a PeftModel; give a model of transformers",
        ),
        (lambda folder: AtlasModel(None), "is a NoneType; give a model of transformers"),
        (lambda folder: AtlasModel.from_pretrained(folder, dtype=torch.int8), "dtype is torch.int8; possible are"),
        (lambda folder: AtlasModel.from_pretrained(folder, dtype="auto"), "dtype is 'auto'; possible are float32"),
        (lambda folder: AtlasModel.from_pretrained(folder, tasks="one"), r"tasks is 'one'; give a list .*\['one'\]"),
        (lambda folder: AtlasModel.from_pretrained(folder, tasks=3), "tasks is 3; give a list of names"),
    ],
)
def test_what_is_no_backbone_type_or_list_of_tasks(bert_folder, make, error):
    with pytest.raises((TypeError, ValueError), match=error):
        make(bert_folder)


def test_int8_does_not_spoil_the_backbone_of_learned_tasks(bert_folder, tmp_path):
    learned(bert_folder, ["one"]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"dtype is torch\.int8; possible are float32, float16, bfloat16, float64"):
        AtlasModel.from_pretrained(tmp_path, dtype=torch.int8)
    assert AtlasModel.from_pretrained(tmp_path, dtype="bfloat16").base_dtype == "bfloat16"


def test_padding_stands_at_the_end_whatever_the_tokenizer_was_told(bert_folder):
    model = learned(bert_folder, ["one"])
    expected = model.predict("one", texts=TEXTS)
    model.processor.padding_side = "left"
    assert model.predict("one", texts=TEXTS) == expected


def test_a_tokenizer_without_a_padding_token_is_refused_before_training(bert_folder):
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    model = AtlasModel(AutoModel.from_pretrained(bert_folder), tokenizer, AtlasConfig(r=4))
    model.add_task(text_spec("one"))
    with pytest.raises(ValueError, match="The tokenizer has no padding token, .*tokenizer.pad_token = tokenizer"):
        AtlasTrainer(model, quick(), train_dataset=text_data("b", 16))


def test_a_column_of_a_data_set_is_several_texts(bert_folder):
    model = learned(bert_folder, ["one"])
    column = Dataset.from_dict({"text": TEXTS})["text"]
    assert model.predict("one", texts=column) == model.predict("one", texts=TEXTS)
    with pytest.raises(ValueError, match="top_k is 0; give how many answers, 1 or more"):
        model.predict("one", texts=TEXTS, top_k=0)


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: model.base_model.model])
def test_the_trainer_says_which_model_it_takes(bert_folder, wrap):
    model = wrap(get_peft_model(AutoModel.from_pretrained(bert_folder), AtlasConfig(r=4)))
    with pytest.raises(TypeError, match="model is a .*; give an AtlasModel .*transformers' own Trainer"):
        AtlasTrainer(model, quick(), train_dataset=text_data("b", 8))


@pytest.mark.parametrize("reused", [["one"], []])
def test_all_linear_means_the_same_sites_for_every_task(bert_folder, tmp_path, reused):
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=2, target_modules="all-linear"))
    for name, experience in (("one", []), ("two", reused)):
        model.add_task(text_spec(name), experience=experience)
        model.set_stage(name, "complete")
    sites = list(model.base_model.sites_of("one"))
    assert list(model.base_model.sites_of("two")) == sites and not any(".atlas_" in site for site in sites)
    model.save_pretrained(tmp_path)
    assert AtlasModel.from_pretrained(tmp_path).predict("two", texts=TEXTS) == model.predict("two", texts=TEXTS)


def test_all_linear_beside_an_adapter_of_plain_peft(bert_folder):
    model = get_peft_model(AutoModel.from_pretrained(bert_folder), AtlasConfig(r=2, target_modules=["query"]))
    model.add_adapter("other", AtlasConfig(r=2, target_modules="all-linear"))
    linear = {
        path
        for path, module in AutoModel.from_pretrained(bert_folder).named_modules()
        if "Linear" in str(type(module))
    }
    assert set(model.base_model.sites_of("other")) == linear


def test_tasks_that_a_save_leaves_out_are_told_and_can_be_had_again(bert_folder, tmp_path, caplog):
    model = learned(bert_folder, ["one", "two"])
    expected = model.predict("two", texts=TEXTS)
    model.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert not caplog.records
    part = AtlasModel.from_pretrained(tmp_path, tasks=["one"])
    part.save_pretrained(tmp_path)
    assert "holds the tasks ['two'], which this model does not" in caplog.text
    part.load_adapter(tmp_path, "two", subfolder="two")
    part.save_pretrained(tmp_path)
    assert AtlasModel.from_pretrained(tmp_path).predict("two", texts=TEXTS) == expected
    (tmp_path / "atlas.json").write_text("{")
    model.save_pretrained(tmp_path)  # what is damaged is written anew
    assert AtlasModel.from_pretrained(tmp_path).tasks == ["one", "two"]
