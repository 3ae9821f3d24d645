"""AtlasModel as a person uses it: tasks of every kind, saved and loaded, none of them ever changed by a later one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasModel
from shared.comparing import file_digests, seeded, tensor_digests
from shared.every_kind import KINDS, ROWS, all_logits, batch, learn, unwrapped
from shared.tiny import picture, text_spec

LABELS = {"soft": [[0, 2], [1]], "number": [0.5, -1.0]}
LOGITS = {"words": (2, 2), "soft": (2, 3), "choice": (2, 3), "pair": (2, 2), "number": (2, 1), "picture": (2, 2)}


@pytest.fixture(scope="module")
def learned(vilt_folder):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(vilt_folder, config=AtlasConfig(r=4))
    for seed, (name, kind) in enumerate(KINDS.items()):
        learn(model, name, kind, seed)
    return model.eval()


@pytest.fixture(scope="module")
def folder(learned, tmp_path_factory):
    path = tmp_path_factory.mktemp("learned")
    learned.save_pretrained(path)
    return path


@pytest.mark.parametrize("name", KINDS)
def test_every_problem_type_from_rows_to_a_loss_that_trains_its_task(vilt, name):
    vilt.add_task(text_spec(name, **KINDS[name]))
    rows = [row | {"label": label} for row, label in zip(ROWS, LABELS.get(name, [0, 1]), strict=True)]
    inputs = vilt.collator(name)(rows)
    output = vilt(**inputs)
    assert output.logits.shape == LOGITS[name] and output.loss.dim() == 0
    output.loss.backward()
    grads = {n for n, p in vilt.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert grads and grads <= {n for n, p in vilt.named_parameters() if p.requires_grad}
    assert any("atlas_up" in n for n in grads) and any("atlas_head" in n for n in grads)
    assert vilt(**vilt.collator(name).inputs(ROWS)).loss is None


@pytest.mark.parametrize(
    ("name", "given", "labels"),
    [
        ("words", {"texts": "a b"}, {"no", "yes"}),
        ("soft", {"texts": "a b"}, {"a", "b", "c"}),
        ("choice", {"texts": "a", "images": picture(), "choices": ["d", "e", "f"]}, {"d", "e", "f"}),
        ("pair", {"texts": "a", "images": (picture("red"), picture("blue"))}, {"no", "yes"}),
        ("number", {"texts": "a"}, {"value"}),
        ("picture", {"images": picture()}, {"no", "yes"}),
    ],
)
def test_predict_gives_names_with_scores_best_first(learned, name, given, labels):
    random_state, active = torch.get_rng_state(), learned.task
    answers = learned.predict(name, **given)
    scores = [answer["score"] for answer in answers]
    assert {answer["label"] for answer in answers} == labels and scores == sorted(scores, reverse=True)
    if name not in ("soft", "number"):
        assert sum(scores) == pytest.approx(1)
    assert learned.predict(name, **given) == answers and learned.predict(name, **given, top_k=1) == answers[:1]
    several = {key: [value, value] for key, value in given.items()}
    for row in learned.predict(name, **several, batch_size=1):
        assert row == answers
    assert torch.equal(torch.get_rng_state(), random_state) and learned.task == active and not learned.training


def test_predict_reads_image_files_and_keeps_the_mode(learned, tmp_path):
    picture("red").save(tmp_path / "red.png")
    learned.train()
    from_file = learned.predict("picture", images=str(tmp_path / "red.png"))
    assert learned.training and from_file == learned.predict("picture", images=[picture("red")])[0]
    learned.eval()
    assert learned.predict("words", texts=[]) == []


def test_members_coefficients_and_counts(learned):
    names = list(KINDS)
    assert learned.tasks == names and learned.task == names[-1]
    for position, name in enumerate(names):
        assert learned.members(name) == names[: position + 1]
        rows = 2 * learned.specs[name].rows_per_example
        for site, weights in learned.coefficients(name, **batch(learned, name)).items():
            assert site in learned.base_model.sites and weights.shape == (rows, position + 1)
            assert ((weights >= 0) & (weights <= 1)).all()
    counts = learned.count_parameters("soft")
    assert counts == {
        "adapter": 4 * (32 * 4 + 4 + 4 * 32 + 32), "key": 4 * 32, "queries": 4 * 2 * 32,
        "head": 32 * 64 + 64 + 2 * 64 + 64 * 3 + 3,
    }  # fmt: skip
    assert learned.count_parameters("pair")["head"] == 64 * 64 + 64 + 2 * 64 + 64 * 2 + 2
    total = sum(p.numel() for name, p in learned.named_parameters() if "atlas_" in name)
    assert sum(sum(learned.count_parameters(name).values()) for name in names) == total


def test_a_task_in_its_first_stage_counts_its_experience_only(bert):
    for name in ("one", "two"):
        learn(bert, name, {})
    bert.add_task(text_spec("three"), experience=["two"])
    assert (
        bert.members("three") == ["two"] and bert.task == "three" and bert.peft_config["three"].stage == "experience"
    )
    inputs = bert.preprocessor.encode_texts([["a"]])
    assert {c.shape for c in bert.coefficients("three", **inputs).values()} == {(1, 1)}
    bert.set_stage("three", "expansion")
    assert bert.members("three") == ["two", "three"]
    assert {c.shape for c in bert.coefficients("three", **inputs).values()} == {(1, 2)}
    assert bert.pooled(**inputs).equal(bert.pooled("three", **inputs))


def test_learning_never_changes_an_earlier_task(vilt):
    """To the bit: the tensors, and the logits."""
    expected, tensors = {}, unwrapped(tensor_digests(vilt))
    for seed, (name, kind) in enumerate(KINDS.items()):
        learn(vilt, name, kind, seed)
        now, digests = all_logits(vilt), unwrapped(tensor_digests(vilt))
        assert all(torch.equal(now[task], logits) for task, logits in expected.items())
        assert {key: digests[key] for key in tensors} == tensors
        expected, tensors = now, digests


def test_a_fresh_process_gives_the_same_bits(learned, folder, tmp_path):
    expected = all_logits(learned)
    save_file(expected, tmp_path / "here.safetensors")
    code = (
        "import sys; from safetensors.torch import save_file; from shared.every_kind import all_logits;"
        "from atlas_hf import AtlasModel; save_file(all_logits(AtlasModel.from_pretrained(sys.argv[1])), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "there.safetensors")]
    paths = str(Path(__file__).parents[1])
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}, timeout=120)
    found = load_file(tmp_path / "there.safetensors")
    assert found.keys() == expected.keys() and all(torch.equal(found[task], expected[task]) for task in expected)


def test_a_round_trip_keeps_all_that_a_task_is(learned, folder):
    again = AtlasModel.from_pretrained(folder)
    assert again.tasks == list(KINDS) and again.specs == learned.specs and again.metrics == learned.metrics
    assert tensor_digests(again) == tensor_digests(learned) and not again.training
    assert not any(p.requires_grad for p in again.parameters())
    for name in KINDS:
        mine, theirs = (model.peft_config[name].to_dict() for model in (learned, again))
        assert mine | {"inference_mode": True, "auto_mapping": theirs["auto_mapping"]} == theirs
    assert again.index() == learned.index()
    assert again.task_config.r == 4 and again.task_config.experience == [] and again.task_config.head is None


def test_the_same_bytes_are_saved_twice_and_by_a_reloaded_model(learned, folder, tmp_path):
    learned.save_pretrained(tmp_path / "twice")
    AtlasModel.from_pretrained(folder).save_pretrained(tmp_path / "again")
    expected = file_digests(folder)
    assert file_digests(tmp_path / "twice") == expected == file_digests(tmp_path / "again")
    assert len([name for name in expected if not name.startswith(".atlas_hf")]) == 3 * len(KINDS) + 1
    learned.save_pretrained(tmp_path / "twice", tasks=["words"])
    assert file_digests(tmp_path / "twice") == expected


def test_a_stage_in_the_middle_is_saved_too(bert, tmp_path):
    learn(bert, "one", {})
    bert.add_task(text_spec("two"), experience=["one"])
    bert.save_pretrained(tmp_path)
    again = AtlasModel.from_pretrained(tmp_path)
    assert again.peft_config["two"].stage == "experience" and again.members("two") == ["one"]
    again.set_stage("two", "expansion")
    bert.set_stage("two", "expansion")
    assert tensor_digests(again) == tensor_digests(bert)


def test_some_tasks_are_loaded_with_what_they_reuse(bert, tmp_path):
    for name, experience in (("one", []), ("two", ["one"]), ("aside", []), ("three", ["two", "one"])):
        learn(bert, name, {}, experience=experience)
    bert.save_pretrained(tmp_path)
    inputs = bert.preprocessor.encode_texts([["a b"], ["c"]])
    for asked, loaded in ((["three"], ["one", "two", "three"]), (["aside"], ["aside"]), (["two", "aside"], None)):
        part = AtlasModel.from_pretrained(tmp_path, tasks=asked)
        assert part.tasks == (loaded or ["one", "two", "aside"])
        for name in part.tasks:
            assert torch.equal(seeded(part, name, **inputs), seeded(bert, name, **inputs))
    part.load_tasks(tmp_path)
    assert set(part.tasks) == set(bert.tasks) and tensor_digests(part) == tensor_digests(bert)


def test_dtype_converts_the_backbone_alone_and_saves_what_was_trained(bert, tmp_path):
    learn(bert, "one", {})
    bert.save_pretrained(tmp_path / "a")
    half = AtlasModel.from_pretrained(tmp_path / "a", dtype=torch.bfloat16)
    assert half.get_base_model().dtype == torch.bfloat16
    assert {p.dtype for n, p in half.named_parameters() if "atlas_" in n} == {torch.float32}
    inputs = bert.preprocessor.encode_texts([["a b"], ["c"]])
    torch.testing.assert_close(seeded(half, "one", **inputs), seeded(bert, "one", **inputs), atol=0.05, rtol=0.1)
    half.save_pretrained(tmp_path / "b")
    assert file_digests(tmp_path / "b") == file_digests(tmp_path / "a")


def test_a_backbone_may_be_given_as_an_object(bert, bert_folder, tmp_path):
    learn(bert, "one", {})
    bert.save_pretrained(tmp_path)
    backbone = AutoModel.from_pretrained(bert_folder)
    again = AtlasModel.from_pretrained(tmp_path, backbone=backbone)
    assert again.get_base_model() is backbone and tensor_digests(again) == tensor_digests(bert)
