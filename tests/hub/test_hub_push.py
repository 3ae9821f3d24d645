"""What a push does when nothing goes wrong: commits, tags, bytes, kept states, rights."""

import json
import shutil

import pytest
from huggingface_hub import HfApi

from atlas_hf.folder import TASK_FILES, AtlasFormatError
from atlas_hf.hub import (
    AccessError,
    FolderError,
    PushRejectedError,
    Retry,
    download,
    ensure_writable_repo,
    finished_tasks,
    push,
    snapshot,
)
from shared.hub_models import FAST, NAMES, QUIET, REPO, assert_exactly_once, learn, send

pytestmark = QUIET


def test_each_task_is_one_commit_with_the_files_of_its_moment(hub, folder):
    done = send(hub, folder)
    assert [(task.tag, task.new) for task in done] == [
        (f"task-{n:02d}-{name}", True) for n, name in enumerate(NAMES, 1)
    ]
    assert_exactly_once(hub)
    repo = hub.store.repos["model", REPO]
    first = repo.resolve("task-01-vqa").tree
    files = {"README.md", "atlas.json", "accuracy_matrix.png", "results.json"} | {f"vqa/{f}" for f in TASK_FILES}
    assert set(first) == files | {".gitattributes"}
    for number in (1, 2, 3):
        tree = repo.resolve(f"task-{number:02d}-{NAMES[number - 1]}").tree
        assert f"After {number} tasks" in hub.store.read(tree["README.md"]).decode()


def test_second_push_sends_no_blob_and_no_commit(hub, folder):
    send(hub, folder)
    hub.clear()
    assert [task.new for task in send(hub, folder)] == [False, False, False]
    assert {entry.method for entry in hub.log} == {"GET"} and hub.bytes_in() == 0


def test_push_of_a_task_sends_only_its_own_files(hub, tmp_path):
    model = tmp_path / "model"
    for number, name in enumerate(NAMES, 1):
        send(hub, learn(model, name))
        weights = (model / name / "adapter_model.safetensors").stat().st_size
        assert [entry.bytes_in for entry in hub.requests("^PUT ")] == [weights]
        small = sum(path.stat().st_size for path in [*model.glob("*.*"), *(model / name).glob("*.json")])
        assert hub.bytes_in("POST .*/commit/") < 2 * small + 2000, "base64 of the small files, and a few lines"
        assert hub.bytes_in() < weights + 5 * small + 6000
        assert len(hub.requests("POST .*/commit/")) == 1, number
        hub.clear()
    assert_exactly_once(hub)


def test_card_drawn_anew_is_not_a_new_push(hub, folder):
    send(hub, folder)
    (folder / "README.md").write_text("# another")
    snapshot(folder, "nlvr")
    assert not any(task.new for task in send(hub, folder))
    assert_exactly_once(hub)


def test_without_history_folders_earlier_tasks_get_a_cut_atlas_json(hub, tmp_path):
    for name in NAMES:
        learn(tmp_path / "model", name, keep=False)
    send(hub, tmp_path / "model")
    assert_exactly_once(hub)
    assert "README.md" not in hub.store.repos["model", REPO].resolve("task-02-snli").tree


def test_unfinished_task_waits(hub, folder):
    atlas = json.loads((folder / "atlas.json").read_text())
    atlas["tasks"]["nlvr"]["stage"] = "experience"
    (folder / "atlas.json").write_text(json.dumps(atlas))
    assert [task.task for task in send(hub, folder)] == ["vqa", "snli"]
    assert_exactly_once(hub, NAMES[:2])


def test_missing_tag_is_set_again(hub, folder):
    send(hub, folder)
    hub.store.repos["model", REPO].tags.pop("task-02-snli")
    send(hub, folder)
    assert_exactly_once(hub)


def test_other_branch(hub, folder):
    api = HfApi(endpoint=hub.url, token="hf_write")
    api.create_repo(REPO)
    with pytest.raises(AccessError, match=r"no branch 'side'; its branches are \['main'\]"):
        send(hub, folder, revision="side")
    api.create_branch(REPO, branch="side")
    send(hub, folder, revision="side")
    repo = hub.store.repos["model", REPO]
    assert len(repo.history("side")) == 4 and len(repo.history("main")) == 1


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_snapshot_holds_the_shared_files_and_is_replaced_whole(folder):
    kept = folder / ".history" / "03-nlvr"
    names = ["README.md", "accuracy_matrix.png", "atlas.json", "results.json"]
    assert sorted(path.name for path in kept.iterdir()) == names
    (folder / "accuracy_matrix.png").unlink()
    (folder / "README.md").write_text("# new")
    assert snapshot(folder, "nlvr") == kept
    assert sorted(path.name for path in kept.iterdir()) == ["README.md", "atlas.json", "results.json"]
    assert (kept / "README.md").read_text() == "# new"
    assert sorted(path.name for path in kept.parent.iterdir()) == ["01-vqa", "02-snli", "03-nlvr"]


def test_snapshot_of_another_task_is_refused(folder):
    with pytest.raises(FolderError, match="'vqa' is not the last finished task.*'vqa', 'snli', 'nlvr'"):
        snapshot(folder, "vqa")


def test_snapshot_of_a_task_learned_anew_is_not_used(hub, folder):
    stale = json.loads((folder / ".history" / "03-nlvr" / "atlas.json").read_text())
    stale["tasks"]["nlvr"]["files"]["task.json"] = "1" * 64
    (folder / ".history" / "03-nlvr" / "atlas.json").write_text(json.dumps(stale))
    send(hub, folder)
    assert_exactly_once(hub)


@pytest.mark.parametrize(
    ("position", "error"),
    [(3, "task 'snli' is number 2, not 3"), ("2", "tasks.snli.position is '2', not a whole number")],
)
def test_positions_must_count(folder, position, error):
    atlas = json.loads((folder / "atlas.json").read_text())
    atlas["tasks"]["snli"]["position"] = position
    (folder / "atlas.json").write_text(json.dumps(atlas))
    with pytest.raises(AtlasFormatError, match=error):
        finished_tasks(folder)


def test_damaged_weights_are_not_pushed(hub, folder):
    with (folder / "snli" / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(AtlasFormatError, match="snli/adapter_model.safetensors was altered"):
        send(hub, folder)
    assert_exactly_once(hub, NAMES[:1])


@pytest.mark.parametrize("place", ["README.md", "reuse.png", "results.json", "nlvr/README.md"])
def test_a_link_out_of_the_folder_publishes_nothing(hub, folder, tmp_path, place):
    secret = tmp_path / "token"
    secret.write_text("hf_secret")
    (folder / place).unlink(missing_ok=True)
    (folder / place).symlink_to(secret)
    if "/" not in place:
        with pytest.raises(FolderError, match=f"{place} leads out of the folder, to .*token: it is a link"):
            snapshot(folder, "nlvr")
    shutil.rmtree(folder / ".history" / "03-nlvr")
    with pytest.raises(FolderError, match=f"{place} leads out of the folder, to .*token: it is a link"):
        send(hub, folder)
    assert_exactly_once(hub, NAMES[:2])


def test_a_kept_state_that_is_a_link_publishes_nothing(hub, folder, tmp_path):
    shutil.move(folder / ".history" / "01-vqa", tmp_path / "elsewhere")
    (folder / ".history" / "01-vqa").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="01-vqa leads out of the folder"):
        send(hub, folder)
    assert_exactly_once(hub, [])


def test_a_folder_of_the_hubs_cache_can_be_pushed_elsewhere(hub, folder, tmp_path):
    send(hub, folder)
    cached = download(REPO, endpoint=hub.url, cache_dir=tmp_path / "cache")
    assert (cached / "atlas.json").is_symlink()
    push(cached, "user/copy", endpoint=hub.url, token="hf_write", retry=FAST)
    assert_exactly_once(hub, repo_id="user/copy")


def test_a_card_without_measure_is_not_pushed(hub, folder):
    (folder / "README.md").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(FolderError, match="README.md has 1,048,577 bytes; a card has at most 1,048,576. Write it"):
        snapshot(folder, "nlvr")


# --- rights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["hf_nobody", "hf_read", "hf_other", False])
@pytest.mark.parametrize("exists", [True, False])
def test_bad_tokens_fail_at_once(hub, token, exists):
    if exists:
        hub.store.create("model", REPO)
    waits = []
    with pytest.raises(AccessError, match="(?s)could not get write access to user/atlas: .*(401|403).*hf auth login"):
        ensure_writable_repo(REPO, token=token, endpoint=hub.url, retry=Retry(sleep=waits.append))
    assert waits == [] and hub.bytes_in("^PUT ") == 0


def test_name_without_name_space(hub, folder, monkeypatch):
    push(folder, "atlas", endpoint=hub.url, token="hf_write", retry=FAST)
    assert_exactly_once(hub)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(AccessError, match="(?s)could not get write access to atlas: Token is required.*hf auth login"):
        ensure_writable_repo("atlas", endpoint=hub.url)


def test_a_private_repository_is_created_once(hub):
    ensure_writable_repo(REPO, private=True, token="hf_write", endpoint=hub.url)
    assert hub.store.repos["model", REPO].private
    hub.clear()
    assert ensure_writable_repo(REPO, token="hf_write", endpoint=hub.url) == REPO
    assert [(entry.method, entry.status) for entry in hub.log] == [("GET", 200)]


def test_card_with_bad_metadata_is_refused(hub, folder):
    (folder / "README.md").write_text("---\ntags: {a: 1}\n---\n")
    snapshot(folder, "nlvr")
    with pytest.raises(PushRejectedError, match="(?s)push task-03-nlvr.*tags.*Correct what the Hub names"):
        send(hub, folder)
    assert_exactly_once(hub, NAMES[:2])
