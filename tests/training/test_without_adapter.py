"""A task that was learned without expansion has no adapter of its own: all that others do, it does too."""

from copy import deepcopy

import pytest
import torch
from peft import PeftModel
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, prune_experience
from atlas_hf.demo import views
from atlas_hf.report.card import write_card
from atlas_hf.report.card_source import read_source
from shared.tiny import quick, randomize, text_data, text_spec

UNSAVED = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False, "num_train_epochs": 1}


def by_evidence(**changes):
    return quick(**UNSAVED | {"recipe": "evidence"} | changes)


@pytest.fixture(scope="module")
def learned(bert_folder):
    """`own` has an adapter, `head` is a head alone, `reuses` is a head and queries over `own`."""
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    model.add_task(text_spec("own"), experience=())
    randomize(model, "own")
    model.set_stage("own", "complete")
    model.add_task(text_spec("head"), experience=())
    AtlasTrainer(model, by_evidence(expand="never"), "head", text_data("a", 24)).train()
    model.add_task(text_spec("reuses"), experience=["own"])
    model.base_model.begin_at("reuses", ["own"])
    model.base_model.drop_adapter("reuses")
    model.set_stage("reuses", "complete")
    return model.eval()


@pytest.fixture
def model(learned):
    return deepcopy(learned)


def inputs(model, *texts):
    return model.collator("own").inputs([{"text": text} for text in texts or ("a b", "c d", "e")])


def test_the_next_task_has_an_adapter_again(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = AtlasModel.from_pretrained(tmp_path)  # its settings are those of the last task
    again.add_task(text_spec("next"))
    assert again.count_parameters("next")["adapter"] > 0
    assert again.peft_config["next"].experience == ["own"]


def test_in_one_batch_with_others(model):
    given = inputs(model)
    together = model(task=["head", "reuses", "own"], labels=[0, 1, 0], **given)
    for i, name in enumerate(("head", "reuses", "own")):
        torch.testing.assert_close(together.logits[i], model(task=name, **given).logits[i])
    assert model.coefficients("head", **given) == {}


def test_nothing_is_pruned_where_nothing_is_reused(model):
    assert prune_experience(model, "head", text_data("a", 24), args=by_evidence()).dropped == []
    found = prune_experience(model, "reuses", text_data("a", 24), 10.0, by_evidence())
    assert found.dropped == ["own"] and model.members("reuses") == []


@pytest.mark.parametrize("task", ["head", "reuses"])
def test_learned_again_from_every_example(model, task):
    before = model.heads[task].state_dict()["dense.weight"].clone()
    trainer = AtlasTrainer(model, by_evidence(), task, text_data("a", 100), relearn=True)
    trainer.train()
    assert len(trainer.train_dataset) == 100 and trainer.eval_dataset is None
    assert not torch.equal(before, model.heads[task].state_dict()["dense.weight"])
    assert model.peft_config[task].own_adapter is False


def test_two_of_one_name_are_told_apart(model, tmp_path, bert_folder):
    model.save_pretrained(tmp_path)
    other = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    other.add_task(text_spec("head"), experience=())
    AtlasTrainer(other, by_evidence(expand="never"), "head", text_data("b", 24)).train()
    with pytest.raises(ValueError, match=r"holds other tasks of the names \['head'\]"):
        other.load_tasks(tmp_path)


def test_in_plain_peft_and_in_a_model_of_its_own(model, tmp_path, bert_folder):
    model.save_pretrained(tmp_path)
    plain = PeftModel.from_pretrained(AutoModel.from_pretrained(bert_folder), tmp_path / "head").eval()
    for name, tensor in model.heads["head"].state_dict().items():
        assert torch.equal(tensor, plain.base_model.atlas_head["default"].state_dict()[name])
    bare = AutoModel.from_pretrained(bert_folder)
    PeftModel.from_pretrained(bare, tmp_path / "head", low_cpu_mem_usage=True)
    AutoModel.from_pretrained(bert_folder).load_adapter(str(tmp_path / "head"))
    other = AtlasModel.from_pretrained(bert_folder)
    other.load_adapter(tmp_path, "head", subfolder="head")
    found, expected = (one.predict("head", texts="a b")[0]["score"] for one in (other, model))
    assert found == pytest.approx(expected)
    other.delete_task("head")


def test_the_card_and_the_demo_say_so(model, tmp_path):
    model.save_pretrained(tmp_path)
    card = write_card(tmp_path).read_text()
    assert "a small adapter where that helped, and may reuse adapters of earlier tasks" in " ".join(card.split())
    head, reuses = (read_source(tmp_path, tmp_path, None).tasks[place] for place in (1, 2))
    assert "reuses nothing: it is a head on the bare backbone" in views.leaned_on(head, {})
    assert "no adapter takes part" in views.site_map(head, {}, "a caption")
    assert "reuses</" not in views.site_map(reuses, {"layer.0.dense": {"own": 0.5}}, "a caption")


@pytest.mark.parametrize("examples", [24, 60])
def test_one_that_never_had_an_adapter_is_learned(model, examples):
    model.add_task(text_spec("new"), own_adapter=False)
    AtlasTrainer(model, by_evidence(), "new", text_data("a", examples)).train()
    assert "new" not in model.members("new") and model.count_parameters("new")["adapter"] == 0
