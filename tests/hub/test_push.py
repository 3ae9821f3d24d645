"""A sequence that pushes after every task, to a real Hub over HTTP: history, faults, and loading any point of it."""

import json

import pytest
import torch

from atlas_hf import AtlasConfig, AtlasModel, hub, learn_sequence
from atlas_hf.cli import main
from shared.hub_server import loopback_hub
from shared.tiny import quick, splits, text_spec

REPO = "user/atlas"
STREAM = [(text_spec(f"has-{letter}"), splits(letter)) for letter in "ab"]


@pytest.fixture
def server(tmp_path):
    with loopback_hub(tmp_path / "home") as running:
        yield running


@pytest.fixture
def args():
    return quick(num_train_epochs=1, push_to_hub=True, hub_model_id=REPO)


@pytest.fixture
def fresh(bert_folder):
    """A backbone that other people could load: the adapters' files must not name a folder of this machine."""

    def make():
        model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
        model.task_config.base_model_name_or_path = "user/tiny-bert"
        return model

    return make


def commits(server):
    return [commit.title for commit in hub_api(server).list_repo_commits(REPO) if commit.title.startswith("Add task")]


def hub_api(server):
    from huggingface_hub import HfApi

    return HfApi(endpoint=server.url, token="hf_write")


def tags(server):
    return sorted(tag.name for tag in hub_api(server).list_repo_refs(REPO).tags)


def logits(model, task):
    with torch.no_grad():
        return model(task=task, **model.collator(task).inputs([{"text": "a b c"}])).logits


def test_one_tag_per_task_and_every_point_of_the_history(server, fresh, args, tmp_path, bert_folder):
    model = fresh()
    learn_sequence(model, STREAM, args, tmp_path / "out")
    assert tags(server) == ["task-01-has-a", "task-02-has-b"]
    first = AtlasModel.from_pretrained(REPO, revision="task-01-has-a", backbone=bert_folder)
    assert first.tasks == ["has-a"] and torch.equal(logits(first, "has-a"), logits(model, "has-a"))
    whole = AtlasModel.from_pretrained(REPO, backbone=bert_folder)
    assert whole.tasks == ["has-a", "has-b"] and torch.equal(logits(whole, "has-b"), logits(model, "has-b"))
    before = len(server.requests(""))
    learn_sequence(fresh(), STREAM, args, tmp_path / "out")
    sent = [request for request in server.requests("")[before:] if request.method in ("POST", "PUT")]
    assert not [request for request in sent if "commit/" in request.path], "nothing is pushed twice"


def test_the_state_on_the_hub_is_that_of_its_task(server, fresh, args, tmp_path):
    learn_sequence(fresh(), STREAM, args, tmp_path / "out")
    folder = hub.download(REPO, revision="task-01-has-a")
    assert list(json.loads((folder / "atlas.json").read_text())["tasks"]) == ["has-a"]
    assert len(json.loads((folder / "results.json").read_text())["matrix"]) == 1
    files = hub_api(server).list_repo_files(REPO, revision="task-01-has-a")
    assert {"README.md", "accuracy_matrix.png", "reuse.png", "has-a/task.json"} <= set(files)
    card = hub_api(server).hf_hub_download(REPO, "README.md", revision="task-01-has-a")
    text = open(card).read()
    assert REPO in text and str(tmp_path) not in text


def test_a_bad_token_fails_before_training(server, fresh, args, tmp_path):
    args.hub_token = "hf_read"
    with pytest.raises(hub.AccessError):
        learn_sequence(fresh(), STREAM, args, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    args.hub_model_id = None
    with pytest.raises(ValueError, match="push_to_hub needs hub_model_id"):
        learn_sequence(fresh(), STREAM, args, tmp_path / "out")


def test_a_failed_push_costs_no_result(server, fresh, args, tmp_path, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise hub.HubUnavailableError("the Hub is down.")

    with monkeypatch.context() as patch:
        patch.setattr(hub, "push", broken)
        results = learn_sequence(fresh(), STREAM, args, tmp_path / "out")
    assert len(results["matrix"]) == 2 and tags(server) == []
    assert "is learned and saved in" in caplog.text and "the Hub is down." in caplog.text
    assert main(["push", str(tmp_path / "out"), REPO, "--token", "hf_write"]) == 0
    assert tags(server) == ["task-01-has-a", "task-02-has-b"]


def test_push_to_hub_of_a_model(server, fresh, args, tmp_path, bert_folder):
    args.push_to_hub = False
    model = fresh()
    learn_sequence(model, STREAM, args, tmp_path / "out")
    pushed = model.push_to_hub(REPO, token="hf_write")
    assert [task.tag for task in pushed] == ["task-01-has-a", "task-02-has-b"]
    loaded = AtlasModel.from_pretrained(REPO, tasks=["has-a"], backbone=bert_folder)
    assert loaded.tasks == ["has-a"] and torch.equal(logits(loaded, "has-a"), logits(model, "has-a"))
    assert not any(task.new for task in model.push_to_hub(REPO, token="hf_write"))


def test_a_local_backbone_is_not_pushed(server, args, tmp_path, bert_folder):
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    with pytest.raises(ValueError, match="the backbone .* is a local folder"):
        learn_sequence(model, STREAM, args, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    model.add_task(text_spec("has-a"))
    with pytest.raises(ValueError, match="the backbone .* is a local folder"):
        model.push_to_hub(REPO)


@pytest.mark.slow
def test_the_digits_stream_by_the_command_line(server, tmp_path):
    """One commit and one tag per task, each with its own files only; and the same command again sends nothing."""
    command = ["learn", "--stream", "digits", "--order", "mono-first", "--smoke", "--output", str(tmp_path / "run")]
    names = ["text-choice", "entailment", "vqa", "image-class"]
    for count in range(1, 5):
        server.clear()
        assert main([*command, "--tasks", *names[:count], "--push_to", "atlas"]) == 0
        weights = (tmp_path / "run" / names[count - 1] / "adapter_model.safetensors").stat().st_size
        assert [entry.bytes_in for entry in server.requests("^PUT ") if entry.bytes_in == weights] == [weights]
    assert tags(server) == [f"task-{i:02}-{name}" for i, name in enumerate(names, 1)]
    assert commits(server) == [f"Add task {i}: {name}" for i, name in reversed(list(enumerate(names, 1)))]
    server.clear()
    assert main([*command, "--push_to", "atlas"]) == 0
    assert server.bytes_in("^PUT |/commit/") == 0


@pytest.mark.slow
def test_the_pushed_digits_stream_answers_as_the_learned_one(server, tmp_path):
    output = tmp_path / "run"
    assert main(["learn", "--smoke", "--tasks", "entailment", "vqa", "--output", str(output), "--push_to", REPO]) == 0
    pushed, learned = AtlasModel.from_pretrained(REPO), AtlasModel.from_pretrained(output)
    from atlas_hf.streams import digits

    spec, data = digits.load_task("vqa", 1, 1, 8)
    row = data["test"][0]
    answers = [model.predict("vqa", row["image"], row["question"]) for model in (pushed, learned)]
    assert answers[0] == answers[1]
