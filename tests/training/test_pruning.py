"""Reused adapters that add next to nothing are dropped from a learned task; a limited experience is the best one."""

import pytest
import torch
from datasets import Dataset
from torch.nn.functional import silu

from atlas_hf import AtlasConfig, AtlasModel, prune_experience
from atlas_hf.training.contributions import contributions
from atlas_hf.training.screening import most_useful
from shared.backbones import examples, save_backbone, task_spec
from shared.comparing import seeded, tensor_digests
from shared.tiny import picture, randomize, text_data, text_spec

INPUTS = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}


def learned(folder, **config):
    """Task `last` reuses `strong`, `weak` and `silent`, whose adapters are large, small and zero."""
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(folder, config=AtlasConfig(r=4, init_queries="normal", **config))
    for name, size in {"strong": 1.0, "weak": 1e-4, "silent": 0.0, "last": 0.5}.items():
        model.add_task(text_spec(name))
        randomize(model, name)
        for site in model.base_model.sites.values():
            site.atlas_up[name].weight.data.mul_(size)
            site.atlas_up[name].bias.data.mul_(size)
        model.set_stage(name, "complete")
    return model.eval()


def test_contributions_by_hand(bert_folder):
    model = learned(bert_folder)
    data = text_data("a", 1)
    found, shares = contributions(model, "last", data), []
    inputs = model.collator("last").inputs([data[0]])
    coefficients = model.coefficients("last", **inputs)
    for path, site in model.base_model.sites.items():
        outputs = []
        hook = site.base_layer.register_forward_hook(lambda _, __, x, outputs=outputs: outputs.append(x))
        seeded(model, "last", **inputs)
        hook.remove()
        added = site.atlas_up["strong"](silu(site.atlas_down["strong"](outputs[0])))
        shares.append((coefficients[path][0, 0] * added[0]).norm(dim=-1) / outputs[0][0].norm(dim=-1))
    assert found["strong"] == pytest.approx(max(share.mean().item() for share in shares), rel=1e-5)
    assert found["silent"] == 0 < found["weak"] < 0.01 < found["strong"]


@pytest.mark.parametrize("config", [{}, {"weighting": "channel"}, {"variant": "reference"}])
def test_the_data_padding_and_variants(bert_folder, config):
    model, data = learned(bert_folder, **config), text_data("a", 40)
    found = contributions(model, "last", data, batch_size=40)
    assert found == pytest.approx(contributions(model, "last", data, batch_size=1), rel=1e-4), "padding left out"
    assert list(found) == ["strong", "weak", "silent", "last"] and list(contributions(model, "strong", data)) == [
        "strong"
    ]
    if config.get("variant") == "reference":
        assert found["silent"] > 0.3, "its residual is weighted, too"


@pytest.mark.parametrize("kind", ["swin", "clip", "vilt"])
def test_windows_and_two_towers(tmp_path, kind):
    model, data = AtlasModel.from_pretrained(save_backbone(kind, tmp_path), config=AtlasConfig(r=4)), examples(4)
    for name in ("one", "two"):
        model.add_task(task_spec(name, kind))
        randomize(model, name)
        model.set_stage(name, "complete")
    found = contributions(model, "two", data)
    assert list(found) == ["one", "two"] and all(share > 0 for share in found.values())
    assert found == pytest.approx(contributions(model, "two", data, batch_size=1), rel=0.2)  # images of other sizes


def test_what_is_negligible_is_dropped(bert_folder, tmp_path):
    model, data = learned(bert_folder), text_data("a", 40)
    before = {task: seeded(model, task, **INPUTS) for task in model.tasks}
    pruned = prune_experience(model, "last", data, threshold=0.01)
    assert pruned.dropped == ["weak", "silent"] and list(pruned.contributions) == ["strong", "weak", "silent"]
    assert model.members("last") == ["strong", "last"] and model.metrics["last"]["accuracy"] == pruned.after
    after = seeded(model, "last", **INPUTS)
    assert torch.allclose(before["last"], after, atol=1e-3) and not torch.equal(before["last"], after)
    for task in ("strong", "weak", "silent"):
        assert torch.equal(seeded(model, task, **INPUTS), before[task])
    model.save_pretrained(tmp_path / "pruned")
    again = AtlasModel.from_pretrained(tmp_path / "pruned", tasks=["last"])
    assert again.tasks == ["strong", "last"] and torch.equal(seeded(again, "last", **INPUTS), after)
    model.delete_task("silent")
    with pytest.raises(ValueError, match="cannot be deleted"):
        model.delete_task("strong")


def test_a_task_that_reuses_the_pruned_one_stays(bert_folder):
    model = learned(bert_folder)
    model.add_task(text_spec("next"))
    randomize(model, "next", seed=1)
    model.set_stage("next", "complete")
    before = seeded(model, "next", **INPUTS)
    prune_experience(model, "last", text_data("a", 8))
    assert torch.equal(seeded(model, "next", **INPUTS), before)


def test_all_or_nothing_may_be_dropped(bert_folder):
    model, data = learned(bert_folder), text_data("a", 8)
    digests = tensor_digests(model)
    nothing = prune_experience(model, "last", data, threshold=0.0)
    assert nothing.dropped == [] and nothing.before == nothing.after and tensor_digests(model) == digests
    everything = prune_experience(model, "last", data, threshold=float("inf"))
    assert everything.dropped == ["strong", "weak", "silent"] and model.members("last") == ["last"]
    assert model.count_parameters("last")["queries"] == sum(s.out_features for s in model.base_model.sites.values())
    assert seeded(model, "last", **INPUTS).isfinite().all()


def test_what_cannot_be_dropped(bert_folder):
    model = learned(bert_folder)
    with pytest.raises(ValueError, match=r"reuses \['strong', 'weak', 'silent'\]; \['other'\] cannot be dropped"):
        model.drop_experience("last", ["other"])
    model.add_task(text_spec("new"))
    with pytest.raises(ValueError, match=r"stage 'experience'.* Name tasks that a learned task reuses"):
        model.drop_experience("new", ["strong"])
    with pytest.raises(ValueError, match="There is no task 'nothing'"):
        prune_experience(model, "nothing", text_data("a", 8))


@pytest.fixture
def colours(vilt):
    """Three earlier tasks; the features of `seeing` are scaled by the colour of the image, the others see noise."""
    for name in ("noise", "seeing", "dull"):
        vilt.add_task(text_spec(name), experience=())
        randomize(vilt, name, seed=len(name))
        vilt.set_stage(name, "complete")
    names = ["red", "blue"] * 40
    data = Dataset.from_dict({"text": ["a"] * 80, "image": [picture(c) for c in names], "label": [0, 1] * 40})
    return vilt.eval(), data


def test_the_most_useful_are_those_whose_features_say_most(colours, monkeypatch):
    model, data = colours
    spec = text_spec("new", image_columns=["image"])
    errors = iter([0.9, 0.1, 0.5])
    monkeypatch.setattr("atlas_hf.training.screening.probe_error", lambda *_: next(errors))
    assert most_useful(model, spec, data, 2) == ["seeing", "dull"], "in the order of learning"


def test_nothing_is_computed_if_there_are_no_more(colours, monkeypatch):
    model, data = colours
    monkeypatch.setattr("atlas_hf.training.screening.probe_error", None)
    spec = text_spec("new", image_columns=["image"])
    assert most_useful(model, spec, data, 3) == model.tasks and most_useful(model, spec, data, 9) == model.tasks
    assert most_useful(model, spec, data, 1, tasks=["dull"]) == ["dull"]
    with pytest.raises(ValueError, match="The limit is -1; give how many earlier tasks to reuse, 0 or more"):
        most_useful(model, spec, data, -1)


def test_the_probe_finds_the_task_that_saw_the_letter(bert_folder):
    """Of four tasks with random adapters one is given a feature that says whether the letter occurs."""
    torch.manual_seed(0)
    model, data = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4)), text_data("a", 120)
    for i, name in enumerate(("first", "second", "third")):
        model.add_task(text_spec(name), experience=())
        randomize(model, name, seed=i)
        model.set_stage(name, "complete")
    found = {name: most_useful(model, text_spec("new"), data, 1, tasks=[name, other])[0]
             for name, other in (("first", "second"), ("second", "third"), ("third", "first"))}  # fmt: skip
    (best,) = most_useful(model, text_spec("new"), data, 1)
    assert list(found.values()).count(best) == 2, "it wins against each of the others"
