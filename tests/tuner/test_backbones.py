"""The whole life of two tasks on every architecture: learned in stages, saved, loaded, mixed, padded."""

import gc
from copy import deepcopy

import pytest
import torch
import transformers as tf

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, AtlasTrainingArguments
from shared.backbones import ARCHITECTURES, examples, save_backbone, task_spec
from shared.comparing import seeded, tensor_digests
from shared.tiny import randomize, text_spec

FULL = {
    "bert": tf.BertConfig(),
    "vilt": tf.ViltConfig(),
    "clip": tf.CLIPConfig(text_config={"eos_token_id": 3, "pad_token_id": 0}),
}


def load(kind, folder, **options):
    """A model on the backbone in a folder, or of the tasks in a folder."""
    if kind != "whisper":
        return AtlasModel.from_pretrained(folder, **options)
    backbone = options.pop("backbone", folder)
    whisper = tf.WhisperModel.from_pretrained(backbone)
    if folder == backbone:
        return AtlasModel(whisper.get_encoder(), ARCHITECTURES[kind].processor, **options)
    return AtlasModel.from_pretrained(folder, backbone=whisper.get_encoder())


def learn(model, kind, output_dir):
    """Two tasks, the second reusing the first; one step per stage."""
    args = AtlasTrainingArguments(output_dir, recipe="paper", max_steps=1, per_device_train_batch_size=4,
                                  report_to="none", use_cpu=True, disable_tqdm=True)  # fmt: skip
    data = examples()
    for seed, name in enumerate(("one", "two")):
        model.add_task(task_spec(name, kind))
        randomize(model, name, seed)
        AtlasTrainer(model, args, train_dataset=data, eval_dataset=data).train()
        yield name


def backbone_digests(model):
    return {name: value for name, value in tensor_digests(model).items() if ".atlas_" not in name}


@pytest.fixture(scope="module", autouse=True)
def quick_collection():
    """Trainer collects garbage after every stage; what the imports made need not be looked through each time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", params=ARCHITECTURES)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def backbone(kind, tmp_path_factory):
    return save_backbone(kind, tmp_path_factory.mktemp(kind))


@pytest.fixture(scope="module")
def learned(kind, backbone, tmp_path_factory):
    """The model, and what the first task answered before there was a second."""
    torch.manual_seed(0)
    model, first = load(kind, backbone, config=AtlasConfig(r=4)), {}
    for name in learn(model, kind, tmp_path_factory.mktemp("run")):
        batch = model.collator(name).inputs(examples())
        first[name] = (seeded(model, name, **batch), backbone_digests(model))
    return model.eval(), batch, first


def test_sites_are_the_two_projections_of_every_layer(kind, learned):
    model, _, _ = learned
    architecture = ARCHITECTURES[kind]
    expected = {path.format(layer) for path in architecture.sites for layer in range(architecture.layers)}
    assert set(model.base_model.sites) == expected
    assert model.pooled_size == architecture.pooled


def test_a_second_task_changes_nothing_of_the_first(kind, learned):
    model, batch, first = learned
    answers, tensors = first["one"]
    names = {name.replace(".base_layer", "") for name in tensors}
    assert torch.equal(seeded(model, "one", **batch), answers) and model.tasks == ["one", "two"]
    now = backbone_digests(model)
    assert {name.replace(".base_layer", "") for name in now} == names
    assert now == tensors


def test_saved_and_loaded_it_gives_the_same_bits(kind, backbone, learned, tmp_path):
    model, batch, _ = learned
    model.save_pretrained(tmp_path)
    again = load(kind, tmp_path, backbone=backbone)
    assert again.specs == model.specs
    for name in ("one", "two"):
        assert torch.equal(seeded(again, name, **batch), seeded(model, name, **batch))
    row = examples()[0]
    inputs = {"audio": row["sound"]} if ARCHITECTURES[kind].audio else {}
    inputs |= {"images": row["image"]} if ARCHITECTURES[kind].image else {}
    inputs |= {"texts": row["text"]} if ARCHITECTURES[kind].text else {}
    assert again.predict("two", **inputs) == model.predict("two", **inputs)


def test_examples_of_both_tasks_in_one_batch(kind, learned):
    model, batch, _ = learned
    tasks = ["two", "one", "one", "two", "two", "one"]
    together = seeded(model, tasks, **batch)
    for row, task in enumerate(tasks):
        torch.testing.assert_close(together[row], seeded(model, task, **batch)[row], atol=1e-5, rtol=1e-5)


def test_each_example_has_one_coefficient_per_adapter_and_site(kind, learned):
    model, batch, _ = learned
    coefficients = model.coefficients("two", **batch)
    assert coefficients.keys() == model.base_model.sites.keys()
    for weights in coefficients.values():
        assert weights.shape == (6, 2) and ((weights >= 0) & (weights <= 1)).all()


def test_a_prediction_does_not_depend_on_what_else_is_in_the_batch(kind, learned):
    """Texts are padded to the longest, images to the largest where the processor does not make them equal."""
    model, batch, _ = learned
    rows = examples()
    together = seeded(model, "two", **batch)
    own = [model.collator("two").inputs([rows[i]]) for i in range(len(rows))]
    alone = torch.cat([seeded(model, "two", **inputs) for inputs in own])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert (together - together.mean(0)).abs().max() > 1e-2
    coefficients = model.coefficients("two", **batch)
    for row, inputs in enumerate(own):
        torch.manual_seed(0)
        for path, weights in model.coefficients("two", **inputs).items():
            torch.testing.assert_close(weights[0], coefficients[path][row], atol=1e-5, rtol=0)


def full_size(kind):
    """Random weights, the same at each call, and the processor at that architecture's own image size."""
    torch.manual_seed(0)
    processor = deepcopy(ARCHITECTURES[kind].processor)
    if ARCHITECTURES[kind].image:
        processor.image_processor = type(processor.image_processor)()
    return tf.AutoModel.from_config(FULL[kind]), processor


@pytest.mark.slow
@pytest.mark.parametrize("kind", FULL)
def test_the_same_at_full_size(kind, tmp_path):
    backbone, processor = full_size(kind)
    model = AtlasModel(backbone, processor, AtlasConfig())
    tasks = list(learn(model, kind, tmp_path / "run"))
    inputs = model.collator("one").inputs(examples(3))
    answers = {name: seeded(model, name, **inputs) for name in tasks}
    model.save_pretrained(tmp_path / "saved")
    del model, backbone
    again = AtlasModel.from_pretrained(tmp_path / "saved", backbone=full_size(kind)[0])
    again.processor = processor
    assert len(again.base_model.sites) == (48 if kind == "clip" else 24)
    for name, expected in answers.items():
        assert torch.equal(seeded(again, name, **inputs), expected)
        rows = [again.collator(name).inputs([row]) for row in examples(3)]
        alone = torch.cat([seeded(again, name, **row) for row in rows])
        torch.testing.assert_close(alone, expected, atol=1e-5, rtol=0)
    mixed = seeded(again, ["two", "one", "two"], **inputs)
    for row, name in enumerate(["two", "one", "two"]):
        torch.testing.assert_close(mixed[row], answers[name][row], atol=1e-5, rtol=0)
    assert {weights.shape for weights in again.coefficients("two", **inputs).values()} == {(3, 2)}


def test_a_sound_may_be_wrong_in_rate_or_place(kind, learned):
    model, _, _ = learned
    sound = examples(1)[0]["sound"]
    if ARCHITECTURES[kind].audio:
        with pytest.raises(ValueError, match=r"have the sampling rates \[8000\]; the backbone takes 800. Cast the"):
            model.predict("two", audio=sound | {"sampling_rate": 8000})
        with pytest.raises(ValueError, match="Task 'two' takes audio; given were texts"):
            model.predict("two", texts="a")
        assert len(model.predict("two", audio=[sound, sound])) == 2
        with pytest.raises(ValueError, match="Task 'words' has text, but the backbone's processor takes audio only"):
            model.preprocessor.check(text_spec("words"))
    else:
        spec = text_spec("sounds", text_columns=[], audio_column="sound")
        with pytest.raises(ValueError, match="Task 'sounds' has audio, but the backbone's processor takes "):
            model.preprocessor.check(spec)
