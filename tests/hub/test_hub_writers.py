"""Several processes or people that push to one repository."""

import logging
import threading

import pytest
from huggingface_hub import HfApi

from atlas_hf.hub import HubError, PushConflictError, Retry
from shared.hub_models import NAMES, QUIET, REPO, assert_exactly_once, learn, send

pytestmark = QUIET


def at_once(calls: list) -> list:
    """Runs the calls in threads; returns results and `HubError`s in order."""
    out: list = [None] * len(calls)

    def run(place: int) -> None:
        try:
            out[place] = calls[place]()
        except HubError as error:
            out[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def test_four_writers_of_one_folder(hub, folder):
    patient = Retry(tries=30, sleep=lambda seconds: None)
    results = at_once([lambda: send(hub, folder, retry=patient)] * 4)
    assert all([task.commit for task in result] == [task.commit for task in results[0]] for result in results)
    assert_exactly_once(hub)


def test_four_writers_of_four_models(hub, tmp_path):
    models = [tmp_path / f"model-{seed}" for seed in range(4)]
    for seed, model in enumerate(models):
        for name in NAMES:
            learn(model, name, seed)
    patient = Retry(tries=30, sleep=lambda seconds: None)
    results = at_once([lambda m=model: send(hub, m, retry=patient) for model in models])
    won = [place for place, result in enumerate(results) if isinstance(result, list)]
    assert len(won) == 1 and all(isinstance(results[place], PushConflictError) for place in {0, 1, 2, 3} - set(won))
    assert_exactly_once(hub)
    weights = (models[won[0]] / "nlvr" / "adapter_model.safetensors").read_bytes()
    head = hub.store.repos["model", REPO].resolve("main")
    assert hub.store.read(head.tree["nlvr/adapter_model.safetensors"]) == weights


def test_second_person_gets_a_clear_error(hub, folder, tmp_path):
    send(hub, learn(learn(tmp_path / "other", "vqa"), "places"))
    before = hub.store.repos["model", REPO].resolve("main").tree
    with pytest.raises(
        PushConflictError, match="holds task-02-places .commit .* other files than task-02-snli of this folder"
    ):
        send(hub, folder)
    assert hub.store.repos["model", REPO].resolve("main").tree == before


def test_repository_that_is_ahead_is_left_alone(hub, folder, tmp_path):
    send(hub, folder)
    behind = learn(learn(tmp_path / "behind", "vqa"), "snli")
    assert [task.new for task in send(hub, behind)] == [False, False]
    assert_exactly_once(hub)


def test_card_edited_on_the_hub_is_kept(hub, tmp_path, caplog):
    model = learn(tmp_path / "model", "vqa")
    send(hub, model)
    hub.foreign_commit(REPO, {"README.md": b"# my words"})
    for name in NAMES[1:]:
        hub.foreign_commit(REPO, {"LICENSE": name.encode()})
        with caplog.at_level(logging.WARNING):
            assert send(hub, learn(model, name))[-1].kept == ("README.md",)
        assert "left as others made them: README.md" in caplog.text
    head = hub.store.repos["model", REPO].resolve("main")
    assert hub.store.read(head.tree["README.md"]) == b"# my words"
    assert_exactly_once(hub, others=3)


def test_card_deleted_on_the_hub_is_written_again(hub, tmp_path):
    model = learn(tmp_path / "model", "vqa")
    send(hub, model)
    hub.foreign_commit(REPO, {"README.md": None})
    assert send(hub, learn(model, "snli"))[-1].kept == ()
    assert "README.md" in hub.store.repos["model", REPO].resolve("main").tree


@pytest.mark.parametrize("path", ["atlas.json", "results.json", "vqa/adapter_model.safetensors", "snli/task.json"])
def test_files_that_others_changed_are_a_conflict(hub, tmp_path, path):
    model = learn(tmp_path / "model", "vqa")
    send(hub, model)
    hub.foreign_commit(REPO, {path: b"theirs"})
    with pytest.raises(PushConflictError, match=f"changed by others.*'{path}'.*Nothing was overwritten"):
        send(hub, learn(model, "snli"))
    assert hub.store.read(hub.store.repos["model", REPO].resolve("main").tree[path]) == b"theirs"


def test_first_push_into_somebody_elses_repository(hub, folder):
    HfApi(endpoint=hub.url, token="hf_write").create_repo(REPO)
    hub.foreign_commit(REPO, {"atlas.json": b"{}"})
    with pytest.raises(PushConflictError, match=r"changed by others.*\['atlas.json'\]"):
        send(hub, folder)


def test_tag_that_points_elsewhere(hub, folder):
    api = HfApi(endpoint=hub.url, token="hf_write")
    api.create_repo(REPO)
    api.create_tag(REPO, tag="task-01-vqa")
    with pytest.raises(PushConflictError, match="tag task-01-vqa of user/atlas points to .* but the task is in"):
        send(hub, folder)
