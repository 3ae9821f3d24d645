"""What a site computes, what trains, and what one call tells another: nothing."""

import copy
import pickle
import threading

import pytest
import torch
from peft import PeftModel, get_peft_model
from transformers import AutoModel

from atlas_hf import AtlasConfig
from atlas_hf.fusion import fuse_loop
from atlas_hf.tuner.route import ROUTE
from shared.comparing import seeded, tensor_digests
from shared.tiny import learned, randomize, splits, text_spec

TEXTS = [["a b c d e f"], ["h"], ["c c a"]]


def trainable(model):
    """Names of what trains, without the path of the site and without `.weight`."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    return {name[name.index("atlas_") :].removesuffix(".weight").removesuffix(".bias") for name in names}


HEAD = {f"atlas_head.{{}}.{part}" for part in ("dense", "norm", "out")}
FIRST = HEAD | {"atlas_experience_query.{}"}
SECOND = HEAD | {"atlas_down.{}", "atlas_up.{}", "atlas_key.{}", "atlas_query.{}"}


def of(names, task):
    return {name.format(task) for name in names}


def slow_site(site, x, mask, task):
    """As the formulas read, over the tokens that are no padding."""
    config = site.atlas_config[task]
    *weights, keys = zip(*map(site.reusable, site.members(task)), strict=True)
    options = {name: getattr(config, name) for name in ("num_heads", "variant", "weighting", "token_weight")}
    return fuse_loop(x, *weights, site.queries(task), keys, **options, mask=mask)


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize("weighting", ["adapter", "channel"])
@pytest.mark.parametrize("token_weight", ["each", "shared"])
def test_a_site_computes_what_a_slow_loop_does(bert_folder, variant, weighting, token_weight):
    model = learned(bert_folder, variant=variant, weighting=weighting, token_weight=token_weight)
    inputs, seen = model.preprocessor.encode_texts(TEXTS), {}
    for site in model.base_model.sites.values():
        site.base_layer.register_forward_hook(lambda module, args, output, site=site: seen.update({(site, 0): output}))
        site.register_forward_hook(lambda site, args, output: seen.update({(site, 1): output}))
    for task in model.tasks:
        coefficients = model.coefficients(task, **inputs)
        for path, site in model.base_model.sites.items():
            with torch.no_grad():
                output, weights = slow_site(site, seen[site, 0], inputs["attention_mask"], task)
            torch.testing.assert_close(seen[site, 1], output, atol=2e-5, rtol=1e-5)
            torch.testing.assert_close(coefficients[path], weights, atol=1e-5, rtol=1e-5)
            assert coefficients[path].shape[:2] == (3, model.tasks.index(task) + 1)


def test_a_new_task_changes_no_output_until_it_is_trained(bert_folder):
    model = learned(bert_folder, ("one",))
    inputs = model.preprocessor.encode_texts(TEXTS)
    bare = AutoModel.from_pretrained(bert_folder)(**inputs).pooler_output
    model.add_task(text_spec("alone"), experience=())
    assert torch.equal(model.pooled("alone", **inputs), bare)
    model.add_task(text_spec("two"), experience=["one"])
    reusing = model.pooled("two", **inputs)
    model.set_stage("two", "expansion")
    torch.testing.assert_close(model.pooled("two", **inputs), reusing, atol=1e-6, rtol=0)
    randomize(model, "two")
    assert (model.pooled("two", **inputs) - reusing).abs().max() > 1e-3


def test_the_stage_decides_what_trains(bert_folder):
    model = learned(bert_folder, ("one",))
    assert trainable(model) == set()
    model.add_task(text_spec("two"))
    assert trainable(model) == of(FIRST, "two")
    model.set_stage("two", "expansion")
    assert trainable(model) == of(SECOND, "two")
    model.set_task("one")
    assert trainable(model) == set()
    model.set_adapter("two")
    assert trainable(model) == of(SECOND, "two")
    model.set_stage("two", "complete")
    model.set_adapter("two")
    model.base_model.set_requires_grad("two")
    assert trainable(model) == set()


@pytest.mark.parametrize(("stage", "names"), [("experience", FIRST), ("expansion", SECOND), ("complete", set())])
def test_no_road_through_peft_thaws_what_the_stage_freezes(bert_folder, stage, names):
    model = learned(bert_folder, ("one",))
    model.add_task(text_spec("two"))
    model.set_stage("two", stage)
    with model.disable_adapter():
        pass
    assert trainable(model) == of(names, "two")
    model.set_requires_grad("two", True)
    assert trainable(model) == of(names, "two")
    model.set_requires_grad("two", False)
    assert trainable(model) == set()


@pytest.mark.parametrize(("stage", "names"), [("experience", FIRST), ("expansion", SECOND), ("complete", set())])
def test_a_task_loaded_to_be_trained_trains_what_its_stage_says(bert_folder, tmp_path, stage, names):
    model = learned(bert_folder, ("one",))
    model.add_task(text_spec("two"))
    model.set_stage("two", stage)
    model.save_pretrained(tmp_path)
    plain = PeftModel.from_pretrained(
        AutoModel.from_pretrained(bert_folder), tmp_path, adapter_name="one", subfolder="one"
    )
    plain.load_adapter(tmp_path, "two", subfolder="two", is_trainable=True)
    assert trainable(plain) == of(names, "two")
    plain.set_adapter("one")
    assert trainable(plain) == set()


def test_disable_adapter_gives_the_bare_backbone(bert_folder):
    model = learned(bert_folder)
    inputs = model.preprocessor.encode_texts(TEXTS)
    bare = AutoModel.from_pretrained(bert_folder)(**inputs)
    with model.disable_adapter():
        assert torch.equal(model.get_base_model()(**inputs).last_hidden_state, bare.last_hidden_state)
    model.set_task(None)
    assert torch.equal(model.pooled(**inputs), bare.pooler_output)
    assert not torch.equal(model.pooled("three", **inputs), bare.pooler_output)


def test_deleting_a_task_leaves_the_others_as_they_were(bert_folder):
    model = learned(bert_folder)
    model.add_task(text_spec("aside"), experience=["one"])
    inputs = model.preprocessor.encode_texts(TEXTS)
    before, digests = {task: seeded(model, task, **inputs) for task in model.tasks}, tensor_digests(model)
    with pytest.raises(ValueError, match="'one' cannot be deleted: 'two', 'three', 'aside' reuse.* it. Delete those"):
        model.delete_task("one")
    assert tensor_digests(model) == digests and model.task == "aside"
    model.delete_task("aside")
    model.delete_task("three")
    assert tensor_digests(model) == {k: v for k, v in digests.items() if ".aside" not in k and ".three" not in k}
    assert all(torch.equal(seeded(model, task, **inputs), before[task]) for task in model.tasks)
    with pytest.raises(ValueError, match="no task 'three'; there are \\['one', 'two'\\]"):
        model.delete_task("three")


def test_merging_is_refused_and_unloading_gives_the_backbone_back(bert_folder):
    model = learned(bert_folder)
    inputs = model.preprocessor.encode_texts(TEXTS)
    with pytest.raises(NotImplementedError, match="cannot be merged .* Use `unload\\(\\)`"):
        model.merge_adapter()
    with pytest.raises(NotImplementedError, match="cannot be merged"):
        model.merge_and_unload()
    unloaded, bare = model.unload(), AutoModel.from_pretrained(bert_folder)
    assert str(unloaded) == str(bare) and list(unloaded.state_dict()) == list(bare.state_dict())
    assert torch.equal(unloaded(**inputs).last_hidden_state, bare(**inputs).last_hidden_state)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_computes_the_same_and_shares_nothing(vilt_folder, clone):
    model = learned(vilt_folder, ("one", "two"))
    rows = list(splits("a", train=3)["train"])
    inputs = model.collator("two").inputs(rows)
    expected, twin = seeded(model, "two", **inputs), clone(model)
    assert torch.equal(seeded(twin, "two", **inputs), expected)
    assert tensor_digests(twin) == tensor_digests(model) and twin.specs == model.specs
    randomize(twin, "one", seed=9)
    assert torch.equal(seeded(model, "two", **inputs), expected)
    assert not torch.equal(seeded(twin, "two", **inputs), expected)


def test_two_threads_get_the_answers_of_their_own_tasks(bert_folder):
    model = learned(bert_folder)
    inputs = model.preprocessor.encode_texts(TEXTS)
    expected = {task: seeded(model, task, **inputs) for task in model.tasks}
    wrong, gate = [], threading.Barrier(len(expected))

    def ask(task):
        gate.wait()
        for _ in range(20):
            with torch.no_grad():
                if not torch.equal(model(task=task, **inputs).logits, expected[task]):
                    wrong.append(task)

    threads = [threading.Thread(target=ask, args=(task,)) for task in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and model.task == "three"


def test_an_error_inside_forward_leaves_no_route_behind(bert_folder):
    model = learned(bert_folder)
    inputs = model.preprocessor.encode_texts(TEXTS)
    with pytest.raises(IndexError):
        model(task="one", **{**inputs, "input_ids": inputs["input_ids"] + 1000})
    assert ROUTE.get() is None
    assert torch.equal(model(**inputs).logits, seeded(model, "three", **inputs))


def test_plain_peft_adds_and_selects_tasks(bert_folder):
    base = AutoModel.from_pretrained(bert_folder)
    model = get_peft_model(base, AtlasConfig(r=4), adapter_name="one")
    assert trainable(model) == {name.format("one") for name in SECOND - HEAD}
    model.add_adapter("two", AtlasConfig(r=4, experience=["one"], stage="experience"))
    model.set_adapter("two")
    assert trainable(model) == {"atlas_experience_query.two"}


@pytest.mark.parametrize(("init", "low", "high"), [("opposed", 0.0, 0.12), ("normal", 0.3, 0.7)])
def test_where_reuse_begins(bert, init, low, high):
    """Opposed queries give reused adapters a small coefficient; the default for the paper's variant."""
    bert.add_task(text_spec("has-a"))
    bert.set_stage("has-a", "complete")
    bert.add_task(text_spec("has-b"), **({} if init == "opposed" else {"init_queries": init}))
    bert.set_stage("has-b", "expansion")
    inputs = bert.collator("has-b").inputs([{"text": "a b c"}, {"text": "d"}])
    reused = torch.stack([values[:, 0] for values in bert.coefficients("has-b", **inputs).values()])
    assert low <= reused.min() and reused.max() <= high
    assert AtlasConfig(variant="reference").init_queries == "normal"
