"""The unmodified `huggingface_hub` client does with the test server what it does with the Hub."""

import hashlib
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from shared.hub_server import client_env, loopback_hub

REPO = "user/model"
WEIGHTS = bytes(range(256)) * 100
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's, of its own client
CARD = b"---\nlicense: apache-2.0\ntags: [a]\n---\n# A card\n"


@pytest.fixture
def hub(tmp_path):
    with loopback_hub(tmp_path / "home", page_size=3) as server:
        yield server


@pytest.fixture
def api(hub) -> HfApi:
    api = HfApi(endpoint=hub.url, token="hf_write")
    api.create_repo(REPO)
    return api


def commit(api: HfApi, files: dict[str, bytes | None], **options):
    operations = [
        CommitOperationDelete(path) if content is None else CommitOperationAdd(path, content)
        for path, content in files.items()
    ]
    return api.create_commit(REPO, operations, commit_message="a title", commit_description="a body", **options)


def test_whoami_and_bad_token(hub, api):
    assert api.whoami()["name"] == "user"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_nobody")


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_life_of_a_repository(hub, tmp_path, kind):
    api = HfApi(endpoint=hub.url, token="hf_write")
    sdk = {"space_sdk": "gradio"} if kind == "space" else {}
    assert api.create_repo("user/x", repo_type=kind, private=True, **sdk).repo_id == "user/x"
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("user/x", repo_type=kind, **sdk)
    api.create_repo("user/x", repo_type=kind, exist_ok=True, **sdk)
    api.upload_file(path_or_fileobj=WEIGHTS, path_in_repo="a/b.safetensors", repo_id="user/x", repo_type=kind)
    path = hf_hub_download("user/x", "a/b.safetensors", repo_type=kind, endpoint=hub.url, token="hf_write")
    assert Path(path).read_bytes() == WEIGHTS
    info = api.repo_info("user/x", repo_type=kind, files_metadata=True)
    assert info.private and [file.rfilename for file in info.siblings] == [".gitattributes", "a/b.safetensors"]
    assert info.siblings[1].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    api.delete_repo("user/x", repo_type=kind)
    assert not api.repo_exists("user/x", repo_type=kind)


def test_commit_uploads_once_and_checks_the_parent(hub, api):
    first = commit(api, {"README.md": CARD, "w.safetensors": WEIGHTS, "small.json": b"{}"})
    assert [entry.status for entry in hub.requests("^PUT ")] == [200]
    assert hub.bytes_in("^PUT ") == len(WEIGHTS)
    again = commit(api, {"README.md": CARD, "w.safetensors": WEIGHTS, "small.json": b"{}"})
    assert again.oid == first.oid, "nothing changed, so the client makes no commit"
    copy = commit(api, {"copy.safetensors": WEIGHTS}, parent_commit=first.oid)
    assert len(hub.requests("^PUT ")) == 1, "a blob that is there is not sent again"
    with pytest.raises(HfHubHTTPError, match="412.*"):
        commit(api, {"x": b"x"}, parent_commit=first.oid)
    commit(api, {"copy.safetensors": None}, parent_commit=copy.oid)
    assert sorted(api.list_repo_files(REPO)) == [".gitattributes", "README.md", "small.json", "w.safetensors"]


def test_bad_yaml_is_refused_before_any_upload(hub, api):
    with pytest.raises(ValueError, match="tags.*must be a string or a list"):
        commit(api, {"README.md": b"---\ntags: {a: 1}\n---\n", "w.safetensors": WEIGHTS})
    with pytest.raises(ValueError, match="base_model.*is not valid"):
        commit(api, {"README.md": b"---\nbase_model: /home/me/vilt\n---\n"})
    with pytest.raises(ValueError, match="task.type.*is required"):
        commit(api, {"README.md": b"---\nmodel-index: [{name: a, results: [{metrics: []}]}]\n---\n"})
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        commit(api, {"README.md": b"# no metadata"})
    assert hub.bytes_in("^PUT ") == 0


def test_tags_branches_refs_and_pages_of_history(hub, api):
    shas = [commit(api, {"n": str(number).encode()}).oid for number in range(7)]
    api.create_tag(REPO, tag="task-01-a", revision=shas[2])
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(REPO, tag="task-01-a")
    api.create_branch(REPO, branch="side", revision=shas[0])
    refs = api.list_repo_refs(REPO)
    assert {tag.name: tag.target_commit for tag in refs.tags} == {"task-01-a": shas[2]}
    assert {branch.name: branch.target_commit for branch in refs.branches} == {"main": shas[-1], "side": shas[0]}
    history = api.list_repo_commits(REPO)
    assert [entry.commit_id for entry in history][:7] == shas[::-1] and len(history) == 8
    assert (history[0].title, history[0].message) == ("a title", "a body")
    assert api.model_info(REPO, revision="task-01-a").sha == shas[2]
    api.delete_tag(REPO, tag="task-01-a")
    api.delete_branch(REPO, branch="side")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="task-01-a")


def test_tree_pages_and_paths_info(hub, api):
    commit(api, {f"t/f{number}": b"x" for number in range(6)} | {"w.safetensors": WEIGHTS})
    whole = {item.path for item in api.list_repo_tree(REPO, recursive=True)}
    assert whole == {".gitattributes", "t", "w.safetensors", *(f"t/f{number}" for number in range(6))}
    assert {item.path for item in api.list_repo_tree(REPO)} == {".gitattributes", "t", "w.safetensors"}
    assert len(list(api.list_repo_tree(REPO, "t"))) == 6
    info = api.get_paths_info(REPO, ["w.safetensors", "missing"])
    assert [(item.path, item.lfs.sha256) for item in info] == [("w.safetensors", hashlib.sha256(WEIGHTS).hexdigest())]


def test_errors_have_the_hubs_codes(hub, api):
    commit(api, {"a": b"a"})
    api.create_repo("user/secret", private=True)
    stranger = HfApi(endpoint=hub.url, token=False)
    with pytest.raises(RepositoryNotFoundError, match="401"):
        stranger.model_info("user/secret")
    with pytest.raises(RepositoryNotFoundError, match="404"):
        HfApi(endpoint=hub.url, token="hf_other").model_info("user/secret")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(REPO, "missing")
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download(REPO, "a", revision="v9")
    hub.store.repos["model", REPO].gated = True
    with pytest.raises(GatedRepoError):
        HfApi(endpoint=hub.url, token="hf_other").hf_hub_download(REPO, "a")


@pytest.mark.parametrize("token, status", [("hf_write", 200), ("hf_read", 403), ("hf_other", 403), (False, 401)])
def test_auth_check(hub, api, token, status):
    asked = HfApi(endpoint=hub.url, token=token)
    asked.auth_check(REPO)
    if status == 200:
        return asked.auth_check(REPO, write=True)
    with pytest.raises(HfHubHTTPError) as caught:
        asked.auth_check(REPO, write=True)
    assert caught.value.response.status_code == status


def test_resolve_has_etag_commit_link_and_range(hub, api):
    sha = commit(api, {"w.safetensors": WEIGHTS}).oid
    url = f"{hub.url}/{REPO}/resolve/main/w.safetensors"
    head = httpx2.head(url)
    assert head.headers["X-Repo-Commit"] == sha and head.headers["X-Linked-Size"] == str(len(WEIGHTS))
    assert head.headers["X-Linked-Etag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    part = httpx2.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, WEIGHTS[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(WEIGHTS)}"
    assert httpx2.get(url, headers={"Range": "bytes=999999-"}).status_code == 416


def test_statuses_and_waits(hub, api):
    hub.fault("GET .*/tree/", 503, retry_after=7)
    hub.fault("GET .*/tree/", 500)
    assert list(api.list_repo_tree(REPO))
    assert hub.sleeps[0] == 8 and len(hub.sleeps) == 2, "the client obeys Retry-After, one second added"
    hub.fault("POST .*/commit/", 429, retry_after=3)
    with pytest.raises(HfHubHTTPError, match="429"):
        commit(api, {"a": b"a"})
    assert len(api.list_repo_commits(REPO)) == 1, "a refused commit is not done"


def test_lost_reply_and_cut_upload(hub, api):
    hub.fault("POST .*/commit/", "lost")
    with pytest.raises(httpx2.TransportError):
        commit(api, {"a": b"a"})
    assert len(api.list_repo_commits(REPO)) == 2, "done, though nobody was told"
    cut = hub.fault("PUT /lfs/", "cut", times=2)
    commit(api, {"w.safetensors": WEIGHTS})
    assert cut.struck == 2 and [entry.status for entry in hub.requests("^PUT ")] == [0, 0, 200]


def test_foreign_commit_in_between(hub, api):
    head = commit(api, {"a": b"a"}).oid
    hub.fault("POST .*/commit/", "call", call=lambda: hub.foreign_commit(REPO, {"other": b"o"}))
    with pytest.raises(HfHubHTTPError, match="412"):
        commit(api, {"a": b"b"}, parent_commit=head)
    assert api.list_repo_commits(REPO)[0].authors == ["other"]


def test_short_body_is_asked_again_and_flipped_byte_is_not_noticed(hub, api):
    commit(api, {"w.safetensors": WEIGHTS, "v.safetensors": WEIGHTS[::-1]})
    hub.fault("GET .*/w.safetensors", "short")
    assert Path(api.hf_hub_download(REPO, "w.safetensors")).read_bytes() == WEIGHTS
    assert len(hub.requests("GET .*/w.safe")) == 2, "noticed and asked again"
    hub.fault("GET .*/v.safetensors", "flip")
    got = Path(api.hf_hub_download(REPO, "v.safetensors")).read_bytes()
    assert sum(a != b for a, b in zip(got, WEIGHTS[::-1], strict=True)) == 1


def test_snapshot_by_sha_is_asked_once(hub, api):
    sha = commit(api, {"w.safetensors": WEIGHTS, "a.json": b"{}"}).oid
    folder = snapshot_download(REPO, revision=sha, endpoint=hub.url)
    assert sorted(path.name for path in Path(folder).iterdir()) == [".gitattributes", "a.json", "w.safetensors"]
    hub.clear()
    assert snapshot_download(REPO, revision=sha, endpoint=hub.url) == folder
    assert hub.log == []


def test_unknown_fault_is_refused(hub):
    with pytest.raises(ValueError, match="unknown fault 'melt'.*cut, lost"):
        hub.fault(".*", "melt")


def test_as_a_process(hub, tmp_path):
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "shared.hub_server", "--port", "0"]
    env = client_env(hub, tmp_path)
    with subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            api = HfApi(endpoint=process.stdout.readline().strip(), token="hf_write")
            assert api.whoami()["name"] == "user"
        finally:
            process.kill()
