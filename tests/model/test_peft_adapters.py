"""PEFT's own methods for adapters on an AtlasModel: a task is an adapter, and there is one list of them."""

import pytest
import torch
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.model import BASE
from shared.comparing import Unchanged, seeded, tensor_digests
from shared.every_kind import ROWS, learn
from shared.tiny import text_spec


@pytest.fixture
def learned(bert):
    for seed, name in enumerate(("one", "two")):
        learn(bert, name, {}, seed, experience=())
    return bert.eval()


@pytest.fixture
def inputs(learned):
    return learned.preprocessor.encode_texts([["a b"], ["c"]])


@pytest.mark.parametrize("active", ["one", "two", None])
def test_delete_adapter_is_delete_task(learned, bert_folder, tmp_path, active):
    learned.save_pretrained(tmp_path)
    other = AtlasModel.from_pretrained(tmp_path)
    for model, delete in ((learned, learned.delete_adapter), (other, other.delete_task)):
        model.set_task(active)
        delete("two")
        assert model.tasks == ["one"] == list(model.specs) == list(model.metrics)
        assert model.task == (None if active == "two" else active) and model.active_adapters == [model.active_adapter]
    assert tensor_digests(learned) == tensor_digests(other) and learned.index() == other.index()
    for model in (learned, other):
        model.add_task(text_spec("two"))
        assert model.tasks == ["one", "two"] and model.metrics.keys() == {"one"} and model.members("two") == ["one"]


def test_the_last_adapter_goes_and_the_backbone_is_bare(learned, inputs, bert_folder):
    for name in ("two", "one"):
        learned.delete_adapter(name)
    assert learned.tasks == [] and learned.task is None and not learned.specs and not learned.metrics
    bare = AutoModel.from_pretrained(bert_folder).eval()(**inputs).pooler_output
    assert torch.equal(learned.pooled(**inputs), bare)


def test_what_is_reused_or_no_task_is_not_deleted(learned):
    learned.add_task(text_spec("c"), experience=["one"])
    with Unchanged(learned):
        with pytest.raises(ValueError, match="'one' cannot be deleted: 'c' reuse"):
            learned.delete_adapter("one")
        for name in ("nobody", BASE):
            with pytest.raises(ValueError, match=rf"There is no task '{name}'; there are \['one', 'two', 'c'\]"):
                learned.delete_adapter(name)


def test_a_new_task_reuses_tasks_and_no_other_adapters(learned):
    learned.add_adapter("z", AtlasConfig(r=2))
    learned.add_task(text_spec("later"))
    assert learned.members("later") == ["one", "two"] and learned.tasks == ["one", "two", "z", "later"]
    learned.delete_adapter("z")


def test_add_adapter_makes_a_task_without_a_spec(learned, inputs, tmp_path):
    learned.add_adapter("z", AtlasConfig(r=2, experience=["one"]))
    assert learned.tasks == ["one", "two", "z"] and learned.task == "two"
    learned.set_adapter("z")
    assert learned.task == "z" and learned.members("z") == ["one", "z"] and list(learned.specs) == ["one", "two"]
    found = learned(**inputs)
    assert torch.equal(found.logits, learned.pooled("z", **inputs)), "no head, as the bare backbone"
    assert torch.equal(learned(task=["z", "one"], **inputs).logits[0], found.logits[0])
    trained = [name for name, parameter in learned.named_parameters() if parameter.requires_grad]
    assert trained and all(name.partition(".atlas_")[2].split(".")[1] == "z" for name in trained)
    assert learned.count_parameters("z") == {
        "adapter": 4 * (32 * 2 + 2 + 2 * 32 + 32), "key": 4 * 32, "queries": 4 * 2 * 32, "head": 0,
    }  # fmt: skip
    learned.set_stage("z", "complete")
    assert not any(parameter.requires_grad for parameter in learned.parameters())
    with Unchanged(learned, tmp_path):
        for call in (learned.save_pretrained, learned.collator, learned.predict):
            with pytest.raises(
                ValueError, match="Task 'z' came by PEFT's add_adapter .* without a TaskSpec. Use add_task"
            ):
                call(tmp_path if call == learned.save_pretrained else "z")
    learned.delete_adapter("z")
    learned.save_pretrained(tmp_path)
    assert AtlasModel.from_pretrained(tmp_path).tasks == ["one", "two"]


@pytest.mark.parametrize("name", ["two", "mine"])
def test_c7_load_adapter_of_a_subfolder_answers(learned, inputs, bert_folder, tmp_path, name):
    learned.save_pretrained(tmp_path / "first")
    model = AtlasModel.from_pretrained(bert_folder)
    model.load_adapter(tmp_path / "first", name, subfolder="two", torch_device="cpu")
    assert model.tasks == [name] == list(model.specs) and model.spec(name).name == name
    assert torch.equal(seeded(model, name, **inputs), seeded(learned, "two", **inputs))
    assert model.predict(name, texts="a b") == learned.predict("two", texts="a b")
    model.save_pretrained(tmp_path / "second")
    assert AtlasModel.from_pretrained(tmp_path / "second").predict(name, texts="a b") == model.predict(
        name, texts="a b"
    )


def test_load_adapter_without_the_tasks_record_brings_weights_and_head(learned, inputs, bert_folder, tmp_path):
    learned.save_pretrained(tmp_path)
    (tmp_path / "two" / "task.json").unlink()
    model = AtlasModel.from_pretrained(bert_folder)
    model.load_adapter(tmp_path / "two", "two", torch_device="cpu")
    assert model.tasks == ["two"] and not model.specs
    assert torch.equal(seeded(model, "two", **inputs), seeded(learned, "two", **inputs))
    (tmp_path / "one" / "task.json").write_text("[]")
    with Unchanged(model), pytest.raises(ValueError, match="holds a list, not an object. Restore the file"):
        model.load_adapter(tmp_path, "one", subfolder="one")


def test_no_task_or_adapter_has_the_name_of_the_bare_backbone(learned):
    with Unchanged(learned):
        with pytest.raises(ValueError, match=f"{BASE}"):
            learned.add_task(text_spec(BASE))
        with pytest.raises(ValueError, match=f"{BASE}"):
            learned.add_adapter(BASE, AtlasConfig(r=2))


def test_specs_are_read_only(learned):
    with pytest.raises(TypeError, match="does not support item assignment"):
        learned.specs["c"] = text_spec("c")


@pytest.mark.parametrize("ask", ["logits", "mixed", "coefficients"])
def test_in_evaluation_the_same_inputs_give_the_same_bits(vilt, ask):
    """ViLT orders its patches with the global generator: it draws from it in training, and only there.

    Coefficients are those of evaluation in every mode.
    """
    learn(vilt, "one", {"image_columns": ["image"]})
    inputs = vilt.collator("one").inputs([row | {"image": ROWS[0]["image"].resize((32, 32))} for row in ROWS])
    calls = {
        "logits": lambda: vilt(task="one", **inputs).logits,
        "mixed": lambda: torch.stack(vilt(task=["one", "one"], **inputs).logits),
        "coefficients": lambda: torch.cat(list(vilt.coefficients("one", **inputs).values())),
    }
    state = torch.get_rng_state()
    vilt.eval()
    assert torch.equal(calls[ask](), calls[ask]()) and torch.equal(torch.get_rng_state(), state)
    expected = calls[ask]()
    vilt.train()
    found = calls[ask]()
    if ask == "coefficients":
        assert torch.equal(torch.get_rng_state(), state) and torch.equal(found, expected)
    else:
        assert not torch.equal(torch.get_rng_state(), state)
