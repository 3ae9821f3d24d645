"""Packed weights are kept while they hold, and never longer."""

import copy
import pickle
import threading

import pytest
import torch
from peft import set_peft_model_state_dict
from safetensors.torch import load_file

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.fusion.bottlenecks import Pack
from atlas_hf.tuner import packing
from shared.tiny import randomize, text_spec

TEXTS = [["a b c d e f"], ["h"], ["c c a"]]
SITE = "encoder.layer.1.output.dense"


def learned(folder, names=("one", "two", "three"), r=None, **config):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(folder, config=AtlasConfig(**({"r": 4} | config)))
    for i, name in enumerate(names):
        model.add_task(text_spec(name), **({} if r is None else {"r": r[i]}))
        randomize(model, name, seed=i)
        model.set_stage(name, "complete")
    return model.eval()


@pytest.fixture
def model(bert_folder):
    return learned(bert_folder)


@pytest.fixture
def inputs(model):
    return model.preprocessor.encode_texts(TEXTS)


@pytest.fixture
def packed(monkeypatch):
    """The names of every pack that is made."""
    made, real = [], packing.pack
    monkeypatch.setattr(packing, "pack", lambda site, names: (made.append(tuple(names)), real(site, names))[1])
    return made


def ask(model, task, inputs):
    """Without `model.eval()`, which would forget the packs."""
    with torch.no_grad():
        return model(task=task, **inputs).logits


def afresh(model, task, inputs):
    """What a copy answers, which has no packs."""
    return ask(copy.deepcopy(model), task, inputs)


def site_of(model):
    return model.base_model.sites[SITE]


def test_a_second_call_packs_nothing(model, inputs, packed):
    first = ask(model, "three", inputs)
    assert packed == [("one", "two", "three")] * 4
    assert torch.equal(ask(model, "three", inputs), first) and len(packed) == 4


def test_tasks_that_reuse_all_before_them_share_one_pack(model, inputs, packed):
    expected = {task: afresh(model, task, inputs) for task in model.tasks}
    packed.clear()
    for task in ("three", "two", "one"):
        assert torch.equal(ask(model, task, inputs), expected[task])
    assert packed == [("one", "two", "three")] * 4


def test_a_pack_of_another_width_is_not_shared(bert_folder, packed):
    """The wider one would give the same numbers but for the last bits."""
    model = learned(bert_folder, r=(3, 3, 5))
    inputs = model.preprocessor.encode_texts(TEXTS)
    for task in ("three", "two"):
        ask(model, task, inputs)
    assert packed == [("one", "two", "three")] * 4 + [("one", "two")] * 4


def test_no_more_packs_are_kept_than_said(bert_folder):
    names = [f"t-{i}" for i in range(packing.MAX_PACKS + 3)]
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=2))
    for name in names:
        model.add_task(text_spec(name), experience=())
        model.set_stage(name, "complete")
    inputs = model.preprocessor.encode_texts(TEXTS)
    for name in names:
        ask(model, name, inputs)
    assert len(site_of(model).packs) == packing.MAX_PACKS


PARAMETERS = ["down_weight", "down_bias", "up_weight", "up_bias", "key"]


@pytest.mark.parametrize("index", range(5), ids=PARAMETERS)
@pytest.mark.parametrize("how", ["in_place", "data_replaced", "parameter_replaced", "loaded", "back_and_forth"])
def test_no_change_of_a_reused_adapter_goes_unseen(model, inputs, index, how):
    before, site = ask(model, "three", inputs), site_of(model)
    parameter = site.reusable("one")[index]
    changed = parameter.detach() * -2 + 1
    if how == "in_place":
        with torch.no_grad():
            parameter.copy_(changed)
    elif how == "data_replaced":
        parameter.data = changed
    elif how == "loaded":
        name = next(name for name, p in model.named_parameters() if p is parameter)
        model.load_state_dict(model.state_dict() | {name: changed})
    elif how == "back_and_forth":
        parameter.data = parameter.data.to(torch.bfloat16)
        parameter.data = parameter.data.to(torch.float32)
    else:
        new = torch.nn.Parameter(changed, requires_grad=False)
        owner, name = [
            (site.atlas_down["one"], "weight"), (site.atlas_down["one"], "bias"), (site.atlas_up["one"], "weight"),
            (site.atlas_up["one"], "bias"), (site.atlas_key, "one"),
        ][index]  # fmt: skip
        setattr(owner, name, new) if name != "one" else owner.update({"one": new})
    after = ask(model, "three", inputs)
    assert torch.equal(after, afresh(model, "three", inputs))
    assert how == "back_and_forth" or not torch.equal(after, before)


def through_data(model):
    for parameter in site_of(model).reusable("one"):
        parameter.data.mul_(-2).add_(1)


@pytest.mark.parametrize(
    "step",
    [
        lambda model: model.eval(),
        lambda model: model.train().eval(),
        lambda model: model.set_task("two"),
        lambda model: model.set_stage("three", "complete"),
        lambda model: model.set_adapter("three", inference_mode=True),
        lambda model: model.add_task(text_spec("four"), experience=()),
        lambda model: model.to("cpu"),
        lambda model: model.float(),
        lambda model: model.base_model.sites[SITE].packs.clear(),
    ],
    ids=["eval", "train", "set_task", "set_stage", "set_adapter", "add_task", "to", "float", "clear"],
)
def test_writes_through_data_are_seen_after_any_step_of_the_models_life(model, inputs, step):
    """Writes that torch does not count; `set_task` and others end what was packed."""
    ask(model, "three", inputs)
    through_data(model)
    step(model)
    model.eval()
    assert torch.equal(ask(model, "three", inputs), afresh(model, "three", inputs))


def test_deleting_and_adding_under_the_same_name(model, inputs):
    ask(model, "three", inputs)
    model.delete_task("three")
    model.add_task(text_spec("three"))
    randomize(model, "three", seed=7)
    model.set_stage("three", "complete")
    model.eval()
    assert torch.equal(ask(model, "three", inputs), afresh(model, "three", inputs))
    names = {name for site in model.base_model.sites.values() for entry in site.packs._entries for name in entry.names}
    assert names == {"one", "two", "three"}


def test_loading_other_weights_into_the_same_model(bert_folder, tmp_path, model, inputs):
    before = ask(model, "three", inputs)
    other = learned(bert_folder)
    randomize(other, "two", seed=40)
    other.save_adapter("two", tmp_path)
    tensors = load_file(tmp_path / "two" / "adapter_model.safetensors")
    assert tensors
    with pytest.raises(ValueError, match=r"a task 'two' already, and \['three'\] reuse it: its weights stay"):
        model.load_adapter(str(tmp_path / "two"), "two")
    set_peft_model_state_dict(model, tensors, adapter_name="two")
    after = ask(model, "three", inputs)
    assert not torch.equal(after, before) and torch.equal(after, afresh(model, "three", inputs))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_dtype(model, inputs, dtype):
    ask(model, "three", inputs)
    model.to(dtype)
    assert torch.equal(ask(model, "three", inputs), afresh(model, "three", inputs))
    assert site_of(model).packs._entries[0].keys.dtype == dtype


def test_autocast_has_packs_of_its_own(model, inputs, packed):
    exact = ask(model, "three", inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rough = ask(model, "three", inputs)
        assert torch.equal(ask(model, "three", inputs), rough)
    assert len(packed) == 8 and not torch.equal(rough.float(), exact)
    assert torch.equal(ask(model, "three", inputs), exact) and len(packed) == 8
    torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0.1)


def test_what_was_packed_in_inference_mode_serves_training(model, inputs):
    with torch.inference_mode():
        model(task="three", **inputs)
    model.add_task(text_spec("four"))
    with torch.inference_mode():
        model(task="four", **inputs)
    assert len(site_of(model).packs) == 1
    model(task="four", **inputs).logits.sum().backward()
    assert site_of(model).atlas_experience_query["four"].grad.abs().sum() > 0


@pytest.mark.parametrize("stage", ["experience", "expansion"])
def test_training_packs_what_is_frozen_once_and_computes_no_gradient_for_it(model, inputs, packed, stage):
    model.add_task(text_spec("four"))
    model.set_stage("four", stage)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    labels, losses = torch.tensor([1, 0, 1]), []
    for _ in range(3):
        model.train()
        loss = model(task="four", labels=labels, **inputs).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert len(set(losses)) == 3
    assert packed == [("one", "two", "three")] * 4
    pack, keys = site_of(model).packs.get(site_of(model), ["one", "two", "three"])
    assert isinstance(pack, Pack) and not any(tensor.requires_grad for tensor in (*pack, keys))
    again = copy.deepcopy(model)(task="four", labels=labels, **inputs).loss
    assert model(task="four", labels=labels, **inputs).loss == again


def test_an_adapter_that_someone_lets_train_is_not_taken_from_a_pack(model, inputs):
    ask(model, "three", inputs)
    weight = site_of(model).atlas_up["one"].weight.requires_grad_(True)
    model(task="three", **inputs).logits.sum().backward()
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_begins_without_packs_and_shares_none(model, inputs, clone):
    expected = ask(model, "three", inputs)
    twin = clone(model)
    assert all(len(site.packs) == 0 for site in twin.base_model.sites.values())
    through_data(twin)
    assert not torch.equal(ask(twin, "three", inputs), expected)
    assert torch.equal(ask(model, "three", inputs), expected)


def test_threads_share_packs_while_tasks_change(bert_folder):
    """Different widths make every task's pack its own, so that the threads push out each other's all the time."""
    names = [f"t-{i}" for i in range(packing.MAX_PACKS + 2)]
    model = learned(bert_folder, names, r=range(3, 3 + len(names)))
    inputs = model.preprocessor.encode_texts(TEXTS)
    expected = {task: afresh(model, task, inputs) for task in names}
    wrong, gate = [], threading.Barrier(len(names))

    def work(task):
        gate.wait()
        wrong.extend(task for _ in range(8) if not torch.equal(ask(model, task, inputs), expected[task]))

    threads = [threading.Thread(target=work, args=(task,)) for task in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_predictions_do_not_pack_anew(bert_folder):
    model = learned(bert_folder, ["one", "two"]).eval()
    model.predict("two", texts="a b")
    site = site_of(model)
    packed = site.packs._entries
    model.predict("two", texts="c")
    assert packed and site.packs._entries is packed
