"""What is finished stays finished: by no road through the model does a learned task change, unless asked by name."""

import pytest
import torch

from atlas_hf import AtlasConfig
from atlas_hf.tuner import STAGES
from shared.comparing import Unchanged
from shared.tiny import learned, text_spec

REUSED = r"Task 'two' cannot learn on: \['three'\] reuse its adapter, .* Add a new task that reuses it instead"
FINISHED = r"Task 'three' is finished, and stays as it is\. To learn it anew, .* relearn=True\)\. Or add a new task"


@pytest.fixture
def model(bert_folder):
    """Tasks one, two and three, all finished; three reuses one and two."""
    return learned(bert_folder)


def trains(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("relearn", [False, True])
@pytest.mark.parametrize("stage", ["experience", "expansion"])
def test_a5_no_stage_thaws_a_task_that_others_reuse(model, stage, relearn):
    with Unchanged(model), pytest.raises(ValueError, match=REUSED):
        model.set_stage("two", stage, relearn=relearn)


@pytest.mark.parametrize("stage", ["experience", "expansion"])
def test_a5_a_finished_task_learns_again_only_when_asked_by_name(model, stage):
    with Unchanged(model), pytest.raises(ValueError, match=FINISHED):
        model.set_stage("three", stage)
    model.set_stage("three", stage, relearn=True)
    found = {tuple(name.partition(".atlas_")[2].split(".")[:2]) for name in trains(model)}
    assert found == {(part.removeprefix("atlas_"), "three") for part in STAGES[stage].trained}
    model.set_stage("three", "expansion")  # once it learns, its stages are free


def test_a5_peft_makes_nothing_of_a_finished_task_trainable(model):
    for task in model.tasks:
        model.set_adapter(task)
        assert trains(model) == set()
        with pytest.warns(UserWarning, match=rf"\['{task}'\] stay frozen, although asked to train: finished"):
            model.set_requires_grad(task, True)
        with model.disable_adapter():
            pass
        assert trains(model) == set()


def test_a5_no_adapter_is_loaded_over_a_finished_or_reused_task(model, tmp_path):
    model.save_pretrained(tmp_path)
    for name, why in (("two", r"\['three'\] reuse it"), ("three", "it is finished")):
        with Unchanged(model), pytest.raises(ValueError, match=f"There is a task '{name}' already, and {why}: its w"):
            model.load_adapter(tmp_path, name, subfolder="one")
    with Unchanged(model), pytest.raises(ValueError, match="'two' cannot be deleted: 'three' reuse"):
        model.delete_adapter("two")
    with Unchanged(model), pytest.raises(ValueError, match="'three' already exists"):
        model.add_adapter("three", AtlasConfig(r=2))


def test_a5_what_is_no_longer_reused_may_be_learned_again(model):
    model.delete_task("three")
    model.set_stage("two", "experience", relearn=True)
    assert trains(model)


@pytest.mark.parametrize("part", ["atlas_down", "atlas_up", "atlas_key"])
def test_a_task_on_reused_weights_that_were_edited_is_not_saved(model, tmp_path, part):
    model.save_pretrained(tmp_path)
    next(p for name, p in model.named_parameters() if f".{part}.one" in name).data += 1e-3
    with Unchanged(model, tmp_path), pytest.raises(ValueError, match=r"'two' was learned on \['one'\] as .* then"):
        model.save_pretrained(tmp_path)


def test_c3_tasks_added_before_they_are_learned_reuse_nothing_unfinished(bert):
    for name in ("one", "two", "three"):
        bert.add_task(text_spec(name))
    assert all(bert.peft_config[name].experience == [] for name in bert.tasks) and bert.finished == []
    for name in ("one", "three", "two"):  # each of them can learn, in any order
        bert.set_stage(name, "expansion")
        assert trains(bert) and all(f".{name}" in parameter for parameter in trains(bert))
        bert.set_stage(name, "complete")
    assert bert.finished == ["one", "two", "three"]
    bert.add_task(text_spec("four"))
    assert bert.peft_config["four"].experience == ["one", "two", "three"]


@pytest.mark.parametrize("reused", [["two"], ["one", "two"]])
def test_c3_an_unfinished_task_is_not_reused(bert, reused):
    bert.add_task(text_spec("one"))
    bert.set_stage("one", "complete")
    bert.add_task(text_spec("two"))
    text = r"'three' cannot learn on \['two'\], not finished yet .*'two': 'experience'.*Train them first, or leave"
    with Unchanged(bert), pytest.raises(ValueError, match=text):
        bert.add_task(text_spec("three"), experience=reused)
    bert.set_stage("two", "complete")
    bert.add_task(text_spec("three"), experience=reused)
    assert bert.members("three") == reused


def test_c3_what_another_version_put_on_an_unfinished_task_does_not_learn(model):
    """Folders of tasks that were added before those that they reuse were learned still load."""
    model.peft_config["two"].stage = "expansion"
    for relearn in (False, True):
        model.peft_config["three"].stage = "complete" if relearn else "experience"
        with Unchanged(model), pytest.raises(ValueError, match=r"'three' cannot learn on \['two'\], not finished yet"):
            model.set_stage("three", "expansion", relearn=relearn)
    torch.manual_seed(0)
    model.set_stage("two", "complete")
    model.set_stage("three", "expansion", relearn=True)
