"""Loading from the Hub: any state, only what is needed, checked; faults, the cache, offline."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download

from atlas_hf.folder import TASK_FILES, AtlasFormatError
from atlas_hf.folder.reading import LIMITS, Limit
from atlas_hf.hub import (
    AccessError,
    CorruptFileError,
    FolderError,
    HubUnavailableError,
    NoTasksError,
    Retry,
    download,
    finished_tasks,
)
from shared.hub_models import NAMES, QUIET, REPO, learn, results_after, send

pytestmark = QUIET


def fetch(hub, cache, **options):
    return download(
        REPO, endpoint=hub.url, cache_dir=cache, retry=Retry(tries=3, sleep=lambda seconds: None), **options
    )


def test_state_after_each_task(hub, folder, tmp_path):
    send(hub, folder)
    for number, name in enumerate(NAMES, 1):
        got = fetch(hub, tmp_path / "cache", revision=f"task-{number:02d}-{name}")
        assert [task.name for task in finished_tasks(got)] == list(NAMES[:number])
        assert json.loads((got / "results.json").read_text()) == results_after(number)
        for task in NAMES[:number]:
            for file in TASK_FILES:
                assert (got / task / file).read_bytes() == (folder / task / file).read_bytes()
        assert not (got / "README.md").exists()


def test_tasks_and_what_they_reuse(hub, folder, tmp_path):
    send(hub, folder)
    hub.clear()
    got = fetch(hub, tmp_path / "cache", tasks=["snli"])
    assert sorted(path.name for path in got.iterdir()) == ["atlas.json", "results.json", "snli", "vqa"]
    assert hub.requests("nlvr/") == [] and len(hub.requests("GET .*safetensors")) == 2
    with pytest.raises(ValueError, match=r"no task 'climb'; there are \['vqa', 'snli', 'nlvr'\]"):
        fetch(hub, tmp_path / "cache", tasks=["climb"])


def test_warm_cache_by_sha_asks_nothing(hub, folder, tmp_path, monkeypatch):
    sha = send(hub, folder)[1].commit
    first = fetch(hub, tmp_path / "cache", revision=sha)
    hub.clear()
    assert fetch(hub, tmp_path / "cache", revision=sha) == first
    assert fetch(hub, tmp_path / "cache", revision=sha, tasks=["vqa"]) == first
    assert hub.log == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(hub, tmp_path / "cache", revision=sha) == first


def test_offline_by_tag_and_without_a_cache(hub, folder, tmp_path, monkeypatch):
    send(hub, folder)
    first = fetch(hub, tmp_path / "cache", revision="task-01-vqa")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(hub, tmp_path / "cache", revision="task-01-vqa") == first
    with pytest.raises(HubUnavailableError, match="offline mode is enabled.*Unset HF_HUB_OFFLINE"):
        fetch(hub, tmp_path / "empty", revision="task-01-vqa")


def test_revision_is_resolved_once(hub, folder, tmp_path):
    done = send(hub, learn(tmp_path / "model-2", "vqa"))
    more = learn(tmp_path / "model-2", "snli")
    hub.clear()
    hub.fault("HEAD .*/atlas.json", "call", call=lambda: send(hub, more))
    got = fetch(hub, tmp_path / "cache")
    assert got.name == done[0].commit and [task.name for task in finished_tasks(got)] == ["vqa"]


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "task.json"])
def test_flipped_byte_is_named_with_the_way_to_clear_it(hub, folder, tmp_path, file):
    send(hub, folder)
    hub.fault(f"GET .*/snli/{file}", "flip")
    with pytest.raises(
        CorruptFileError, match=f"snli/{file} has sha256 .*, but atlas.json records .* Delete `.*snli/{file}`"
    ) as caught:
        fetch(hub, tmp_path / "cache")
    assert "nlvr" not in str(caught.value)
    for path in str(caught.value).split("`")[1::2]:
        Path(path).unlink()
    fetch(hub, tmp_path / "cache")


@pytest.mark.parametrize("kind", ["short", "lost", 503, 429])
@pytest.mark.parametrize("match", ["GET .*safetensors", "HEAD .*safetensors", "GET .*/tree/", "GET .*/revision/"])
def test_faulty_download(hub, folder, tmp_path, match, kind):
    send(hub, folder)
    hub.fault(match, kind)
    got = fetch(hub, tmp_path / "cache")
    assert (got / "nlvr" / "task.json").is_file()


def test_private_repository_without_a_token(hub, folder, tmp_path):
    send(hub, folder, private=True)
    with pytest.raises(AccessError, match="(?s)could not download user/atlas.*401.*hf auth login"):
        fetch(hub, tmp_path / "cache", token=False)
    assert fetch(hub, tmp_path / "cache", token="hf_write").is_dir()


def test_revision_and_repository_that_are_not_there(hub, folder, tmp_path):
    send(hub, folder)
    with pytest.raises(AccessError, match="(?s)Revision Not Found.*Give a branch, a tag such as task-01"):
        fetch(hub, tmp_path / "cache", revision="task-09-x")
    hub.store.create("model", "user/empty")
    with pytest.raises(FolderError, match="(?s)does not hold a whole model that atlas_hf pushed"):
        download("user/empty", endpoint=hub.url, cache_dir=tmp_path / "cache")


def test_a_backbone_holds_no_tasks_also_offline(hub, tmp_path, monkeypatch):
    hub.store.create("model", REPO)
    hub.foreign_commit(REPO, {"config.json": b"{}"})
    cached = {"endpoint": hub.url, "cache_dir": tmp_path / "cache"}
    hf_hub_download(REPO, "config.json", **cached)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NoTasksError, match="user/atlas is a backbone, as far as the cache holds it"):
        fetch(hub, tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(NoTasksError, match="(?s)user/atlas does not hold a whole model that atlas_hf pushed.*404"):
        fetch(hub, tmp_path / "cache")


def test_listed_file_that_is_missing(hub, folder, tmp_path):
    send(hub, folder)
    hub.foreign_commit(REPO, {"vqa/task.json": None})
    with pytest.raises(FolderError, match="(?s)Entry Not Found for url: .*/vqa/task.json.*not hold a whole model"):
        fetch(hub, tmp_path / "cache")


def test_failed_listing_does_not_leave_half_a_folder(hub, folder, tmp_path):
    send(hub, folder)
    hub.fault("GET .*/tree/", 500, times=100)
    got = fetch(hub, tmp_path / "cache")
    assert all((got / name / file).is_file() for name in NAMES for file in TASK_FILES)


@pytest.mark.parametrize(
    ("name", "files"), [("../../up", {}), ("a/b", {}), ("vqa", {"../x": "0"}), ("vqa", {"x.pkl": "0"})]
)
def test_hostile_atlas_json_fetches_nothing_else(hub, folder, tmp_path, name, files):
    atlas = json.loads((folder / "atlas.json").read_text())
    atlas["tasks"] = {name: {**atlas["tasks"]["vqa"], "files": files}}
    hub.store.create("model", REPO)
    hub.foreign_commit(REPO, {"atlas.json": json.dumps(atlas).encode()})
    with pytest.raises(AtlasFormatError, match=f"{name}"):
        fetch(hub, tmp_path / "cache")
    assert {entry.path.rsplit("/", 1)[1] for entry in hub.requests("(GET|HEAD) /user")} == {"atlas.json"}


def test_atlas_json_that_is_too_large_or_no_json(hub, tmp_path):
    hub.store.create("model", REPO)
    hub.foreign_commit(REPO, {"atlas.json": b"{" * 1000})
    with pytest.raises(AtlasFormatError, match="atlas.json is not JSON"):
        fetch(hub, tmp_path / "cache")
    hub.foreign_commit(REPO, {"atlas.json": b"{" * (2**24 + 1)})
    with pytest.raises(AtlasFormatError, match="atlas.json has 16,777,217 bytes; more than 16,777,216 are not read"):
        fetch(hub, tmp_path / "cache")


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("vqa/task.json", 16),
        ("vqa/adapter_config.json", 16),
        ("results.json", 24),
        ("vqa/adapter_model.safetensors", 32),
    ],
)
def test_c13_files_that_are_too_large_are_not_fetched(hub, folder, tmp_path, monkeypatch, path, limit):
    monkeypatch.setitem(LIMITS, "adapter_model.safetensors", Limit(32 * 2**20))
    send(hub, folder)
    hub.foreign_commit(REPO, {path: bytes(limit * 2**20 + 1)})
    hub.clear()
    with pytest.raises(AtlasFormatError, match=f"{REPO}/{path} has .* bytes; more than .* are not read"):
        fetch(hub, tmp_path / "cache")
    assert {entry.path.rpartition("/")[2] for entry in hub.requests("GET .*/resolve/")} <= {"atlas.json"}
