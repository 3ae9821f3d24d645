"""Calls as users of PEFT and transformers write them work, or are refused by name with what to write."""

import inspect

import pytest
import torch
from peft import PeftModel
from transformers import AutoModel
from transformers.utils import PushToHubMixin

from atlas_hf import AtlasModel
from atlas_hf.model import foreign_arguments as foreign
from shared.comparing import Unchanged, file_digests, seeded
from shared.every_kind import learn

TEXTS = [["a b"], ["c d e"]]


@pytest.fixture(scope="module")
def learned(bert_folder):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(bert_folder)
    for seed, name in enumerate(("one", "two")):
        learn(model, name, {}, seed)
    return model.eval()


@pytest.fixture(scope="module")
def folder(learned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("signatures")
    learned.save_pretrained(folder)
    return folder


@pytest.fixture
def inputs(learned):
    return learned.preprocessor.encode_texts(TEXTS)


def test_the_inputs_come_by_position_as_for_the_backbone(learned, inputs):
    learned.set_task("one")
    expected = learned(task="two", **inputs).logits
    ids, types, mask = (inputs[name] for name in ("input_ids", "token_type_ids", "attention_mask"))
    assert torch.equal(learned(ids, mask, types, task="two").logits, expected)
    assert torch.equal(learned(ids, mask, token_type_ids=types, task="two").logits, expected)
    assert torch.equal(learned(ids, mask, types).logits, learned(task="one", **inputs).logits)
    mixed = learned(ids, mask, types, task=["two", "two"], labels=[0, 1])
    assert torch.allclose(torch.stack(mixed.logits), expected) and mixed.loss.isfinite()


def test_a_task_by_position_and_an_input_twice_are_refused(learned, inputs):
    with pytest.raises(
        TypeError, match=r"give tensors, and the task by its keyword: model\(input_ids, attention_mask, t"
    ):
        learned("one", **inputs)
    with pytest.raises(TypeError, match=r"\['input_ids'\] came twice: by position and by name"):
        learned(inputs["input_ids"], task="one", **inputs)


def test_the_backbones_own_encoder_is_seen(learned):
    assert learned.encoder is learned.get_base_model().encoder


def test_pefts_order_a_backbone_and_where_the_tasks_are(learned, folder, bert_folder, inputs):
    for model in (
        AtlasModel.from_pretrained(AutoModel.from_pretrained(bert_folder), folder, is_trainable=False),
        AtlasModel.from_pretrained(model=AutoModel.from_pretrained(bert_folder), model_id=folder, torch_device="cpu"),
        AtlasModel.from_pretrained(model_id=folder, low_cpu_mem_usage=True, adapter_name=None),
    ):
        assert model.tasks == ["one", "two"]
        assert torch.equal(seeded(model, "two", **inputs), seeded(learned, "two", **inputs))
    bare = AtlasModel.from_pretrained(AutoModel.from_pretrained(bert_folder))
    assert bare.tasks == [] and bare.processor is not None


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "Nothing to load: give a folder, a repository id, or a backbone"),
        (("me/x", "task-01-one"), {}, "'me/x' and 'task-01-one' were given. Write revision=, tasks= or backbone= by"),
        (("me/x", torch.nn.Linear(1, 1)), {}, r"The backbone comes first: from_pretrained\(backbone, 'folder'\)"),
        ((torch.nn.Linear(1, 1), "me/x"), {"backbone": "me/y"}, "There are two backbones"),
        (("me/x",), {"adaptername": "one"}, "got an unexpected keyword argument 'adaptername'"),
    ],
)
def test_what_from_pretrained_cannot_tell_apart(args, kwargs, text):
    with pytest.raises(TypeError, match=text):
        AtlasModel.from_pretrained(*args, **kwargs)


@pytest.mark.parametrize(
    "name", [name for name, (idle, _) in foreign.FROM_PRETRAINED.items() if True not in idle or False not in idle]
)
def test_what_from_pretrained_does_not_do_is_refused_by_name(folder, name):
    with pytest.raises(
        ValueError, match=rf"from_pretrained\({name}=\.\.\.\) is not for an AtlasModel: .{{15,}}\. Leave it out"
    ):
        AtlasModel.from_pretrained(folder, **{name: "other"})
    idle = foreign.FROM_PRETRAINED[name].idle[0]
    assert AtlasModel.from_pretrained(folder, tasks=["one"], **{name: idle}).tasks == ["one"]


@pytest.mark.parametrize("word", ["tasks", "selected_adapters"])
def test_pefts_word_for_tasks(learned, folder, tmp_path, word):
    learned.save_pretrained(str(tmp_path), safe_serialization=True, save_embedding_layers=False)
    learned.save_pretrained(tmp_path, **{word: ["two"]})
    assert file_digests(tmp_path) == file_digests(folder)
    assert learned.save_pretrained(tmp_path / "other", is_main_process=False) is None
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"safe_serialization": False}, "safe_serialization is False .* tasks are written as safetensors"),
        ({"safe_serialization": ["one"]}, r"write tasks=\[...\] by keyword"),
        ({"save_embedding_layers": True}, "save_embedding_layers True; tasks are written .* without the backbone"),
        ({"tasks": ["one"], "selected_adapters": ["one"]}, "selected_adapters is PEFT's word for tasks. Give one"),
        ({"push_to_hub": True, "repo_id": "me/x"}, "Nobody else could load this model: the backbone '.*' is a local"),
        ({"repo_id": "me/x"}, "repo_id, private and token go with push_to_hub=True"),
        *(({name: "other"}, rf"save_pretrained\({name}=\.\.\.\) is not for") for name in foreign.SAVE_PRETRAINED),
    ],
)
def test_what_save_pretrained_does_not_do_is_refused_before_anything_is_written(learned, tmp_path, kwargs, text):
    with Unchanged(learned, tmp_path), pytest.raises(ValueError, match=text):
        learned.save_pretrained(tmp_path, **kwargs)


@pytest.mark.parametrize("name", foreign.PUSH_TO_HUB)
def test_what_push_to_hub_does_not_do_is_refused_by_name(learned, name):
    with pytest.raises(
        ValueError, match=rf"push_to_hub\({name}=\.\.\.\) is not for an AtlasModel: .{{15,}}\. Leave it out"
    ):
        learned.push_to_hub("me/x", **{name: "other"})


@pytest.mark.parametrize("method", ["save_pretrained", "push_to_hub"])
def test_unknown_arguments_are_errors(learned, tmp_path, method):
    with Unchanged(learned, tmp_path), pytest.raises(TypeError, match=rf"{method}\(\) got an unexpected .* 'unheard'"):
        getattr(learned, method)(str(tmp_path), unheard=1)


def test_save_and_push_in_one_call(learned, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(learned.task_config, "base_model_name_or_path", "me/backbone")
    monkeypatch.setattr(AtlasModel, "push_to_hub", lambda _, repo_id, **options: pushed.append((repo_id, options)))
    learned.save_pretrained(tmp_path / "mine", push_to_hub=True, private=True)
    learned.save_pretrained(tmp_path / "mine", push_to_hub=True, repo_id="me/x")
    assert pushed == [("mine", {"private": True, "token": None}), ("me/x", {"private": None, "token": None})]


@pytest.mark.parametrize(
    ("ours", "theirs", "table"),
    [
        (AtlasModel.from_pretrained, PeftModel.from_pretrained, foreign.FROM_PRETRAINED),
        (AtlasModel.save_pretrained, PeftModel.save_pretrained, foreign.SAVE_PRETRAINED),
        (AtlasModel.push_to_hub, PushToHubMixin.push_to_hub, foreign.PUSH_TO_HUB),
    ],
)
def test_every_argument_of_theirs_has_been_decided_on(ours, theirs, table):
    """A release of PEFT or transformers that adds one fails here until somebody decides."""
    decided = {*inspect.signature(ours).parameters, *table, "kwargs"}
    assert set(inspect.signature(theirs).parameters) - decided <= {"deprecated_kwargs"}
