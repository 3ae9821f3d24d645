"""Pushing and loading against the Hub test server: every fault, alone and in pairs; kills; several writers; bytes."""

import hashlib
import itertools
import json
import logging
import random
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import numpy as np
import pytest
from huggingface_hub import HfApi, close_session, constants
from safetensors.numpy import save_file

from atlas_hf import hub as atlas_hub
from atlas_hf.hub import (
    AccessError,
    CorruptFileError,
    FolderError,
    HubUnavailableError,
    PushConflictError,
    PushRejectedError,
    Retry,
    check_access,
    download,
    finished_tasks,
    push,
    snapshot,
)
from tests.hub_server import client_env, test_hub

REPO = "user/atlas"
NAMES = ("vqa", "snli", "nlvr")
FAST = Retry(sleep=lambda seconds: None)


@pytest.fixture
def hub(tmp_path):
    with test_hub(tmp_path / "home") as server:
        yield server


def learn(folder: Path, name: str, seed: int = 0, keep: bool = True, floats: int = 4000) -> Path:
    """Adds a finished task to a folder in the layout of section 4, as the sequence does; weights of 16 KB and more."""
    folder.mkdir(exist_ok=True)
    atlas_path = folder / "atlas.json"
    empty = {"format_version": 1, "base_model": {"id": "org/base", "revision": None, "sha256": "0" * 64}, "tasks": {}}
    atlas = json.loads(atlas_path.read_text()) if atlas_path.exists() else empty
    position = len(atlas["tasks"]) + 1
    (folder / name).mkdir()
    weights = np.random.default_rng([seed, position]).standard_normal(floats).astype(np.float32)
    save_file({"down": weights}, folder / name / "adapter_model.safetensors")
    (folder / name / "adapter_config.json").write_text(json.dumps({"peft_type": "ATLAS", "task": name}))
    (folder / name / "task.json").write_text(json.dumps({"name": name, "seed": seed}))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / name).iterdir()}
    record = {"position": position, "experience": list(atlas["tasks"])[-1:], "stage": "complete", "files": files}
    atlas["tasks"][name] = record
    atlas_path.write_text(json.dumps(atlas))
    (folder / "results.json").write_text(json.dumps({"rows": position}))
    (folder / "README.md").write_text(f"---\ntags: [atlas]\n---\n# After {position} tasks\n")
    (folder / "matrix.png").write_bytes(b"\x89PNG" + bytes([position]) * 500)
    if keep:
        snapshot(folder, name)
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in NAMES:
        learn(tmp_path / "model", name)
    return tmp_path / "model"


def send(hub, folder, retry=FAST, **options):
    return push(folder, REPO, endpoint=hub.url, token="hf_write", retry=retry, **options)


def assert_exactly_once(hub, names=NAMES, repo_id=REPO, others: int = 0):
    """One commit and one tag per task, in order, each holding that moment's files; nothing else but others' commits."""
    repo = hub.store.repos["model", repo_id]
    history = [commit for commit in repo.history("main")[::-1] if commit.author == "user"]
    assert [commit.title for commit in history] == [f"Add task {n}: {name}" for n, name in enumerate(names, 1)]
    assert len(repo.commits) == 1 + len(names) + others
    assert repo.tags == {f"task-{n:02d}-{name}": commit.sha for n, (name, commit) in enumerate(zip(names, history), 1)}
    for number, commit in enumerate(history, 1):
        atlas = json.loads(hub.store.read(commit.tree["atlas.json"]))
        assert list(atlas["tasks"]) == list(names[:number])
        for name in names[:number]:
            for file, digest in atlas["tasks"][name]["files"].items():
                assert hashlib.sha256(hub.store.read(commit.tree[f"{name}/{file}"])).hexdigest() == digest


# --- what a push does -----------------------------------------------------------------------------------------------


def test_each_task_is_one_commit_with_the_files_of_its_moment(hub, folder):
    done = send(hub, folder)
    assert [(task.tag, task.new) for task in done] == [
        (f"task-{n:02d}-{name}", True) for n, name in enumerate(NAMES, 1)
    ]
    assert_exactly_once(hub)
    repo = hub.store.repos["model", REPO]
    first = repo.resolve("task-01-vqa").tree
    files = {"README.md", "atlas.json", "matrix.png", "results.json"} | {f"vqa/{f}" for f in atlas_hub.TASK_FILES}
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


# --- snapshots ------------------------------------------------------------------------------------------------------


def test_snapshot_holds_the_shared_files_and_is_replaced_whole(folder):
    kept = folder / ".history" / "03-nlvr"
    assert sorted(path.name for path in kept.iterdir()) == ["README.md", "atlas.json", "matrix.png", "results.json"]
    (folder / "matrix.png").unlink()
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
    "change, message",
    [
        (lambda atlas: atlas.update(format_version=2), "no format_version 1"),
        (lambda atlas: atlas.update(tasks=[]), "`tasks` must be a mapping"),
        (lambda atlas: atlas["tasks"].update({"../up": {}}), "'../up' cannot be a task's name"),
        (lambda atlas: atlas["tasks"].update({"a/b": {}}), "'a/b' cannot be a task's name"),
        (lambda atlas: atlas["tasks"]["vqa"].update(position=2), "'vqa' has position 2 at place 1"),
        (lambda atlas: atlas["tasks"]["vqa"].update(experience=["nlvr"]), r"reuses \['nlvr'\]"),
        (lambda atlas: atlas["tasks"]["vqa"]["files"].update({"x.pkl": "0" * 64}), "x.pkl.*must be exactly"),
        (lambda atlas: atlas["tasks"]["vqa"]["files"].update({"task.json": "ab"}), "must map each file to its sha256"),
        (lambda atlas: atlas["tasks"]["vqa"].update(position="1"), "integer `position`"),
    ],
)
def test_atlas_json_nobody_vouches_for(folder, change, message):
    atlas = json.loads((folder / "atlas.json").read_text())
    change(atlas)
    (folder / "atlas.json").write_text(json.dumps(atlas))
    with pytest.raises(FolderError, match=message):
        finished_tasks(folder)


def test_folder_without_or_with_broken_atlas_json(tmp_path):
    with pytest.raises(FolderError, match="atlas.json does not exist: give a folder"):
        finished_tasks(tmp_path)
    (tmp_path / "atlas.json").write_text("{")
    with pytest.raises(FolderError, match="not valid JSON"):
        finished_tasks(tmp_path)


def test_damaged_weights_are_not_pushed(hub, folder):
    with (folder / "snli" / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(FolderError, match="snli/adapter_model.safetensors has sha256 .* but atlas.json records"):
        send(hub, folder)
    assert_exactly_once(hub, NAMES[:1])


# --- faults ---------------------------------------------------------------------------------------------------------

COMMIT, TAG, REFS, HISTORY = "POST .*/commit/", "POST .*/tag/", "GET .*/refs", "GET .*/commits/"
FAULTS = {
    "commit 500": {"match": COMMIT, "kind": 500},
    "commit 503": {"match": COMMIT, "kind": 503, "retry_after": 5},
    "commit 429": {"match": COMMIT, "kind": 429, "retry_after": 7},
    "commit 412": {"match": COMMIT, "kind": 412},
    "commit 409": {"match": COMMIT, "kind": 409},
    "commit 408": {"match": COMMIT, "kind": 408},
    "commit cut": {"match": COMMIT, "kind": "cut"},
    "commit reply lost": {"match": COMMIT, "kind": "lost"},
    "commit reply short": {"match": COMMIT, "kind": "short"},
    "upload cut": {"match": "PUT /lfs/", "kind": "cut"},
    "upload refused for long": {"match": "PUT /lfs/", "kind": 503, "times": 7},
    "verify lost": {"match": "POST /lfs/", "kind": "lost"},
    "batch 500": {"match": "POST .*/objects/batch", "kind": 500, "times": 6},
    "preupload 429": {"match": "POST .*/preupload/", "kind": 429, "retry_after": 1},
    "yaml check 502": {"match": "POST .*/validate-yaml", "kind": 502},
    "tag 500": {"match": TAG, "kind": 500},
    "tag reply lost": {"match": TAG, "kind": "lost"},
    "refs lost": {"match": REFS, "kind": "lost"},
    "refs 503 later": {"match": REFS, "kind": 503, "skip": 2},
    "history 504": {"match": HISTORY, "kind": 504, "times": 6},
    "history short": {"match": HISTORY, "kind": "short"},
    "paths-info lost": {"match": "POST .*/paths-info/", "kind": "lost"},
    "access check 500": {"match": "GET .*/auth-check", "kind": 500},
    "create lost": {"match": "POST .*/repos/create", "kind": "lost"},
    "foreign commit": {"match": COMMIT, "kind": "call"},
}


def strike(hub, name: str, **options):
    fault = {**FAULTS[name], **options}
    if fault["kind"] == "call":
        fault["call"] = lambda: hub.foreign_commit(REPO, {"LICENSE": random.randbytes(8)})
    return hub.fault(**fault)


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault(hub, folder, name):
    fault = strike(hub, name)
    send(hub, folder)
    assert fault.struck == fault.times
    assert_exactly_once(hub, others=name == "foreign commit")


def test_faults_in_pairs(hub, tmp_path):
    """All 300 pairs, a push of one small task each."""
    model = learn(tmp_path / "model", "vqa")
    for number, pair in enumerate(itertools.combinations(FAULTS, 2)):
        repo_id = f"user/pair-{number}"
        hub.clear()
        others = []
        for name in pair:
            call = lambda r=repo_id, o=others: (o.append(1), hub.foreign_commit(r, {"LICENSE": b"L"}))
            hub.fault(**{**FAULTS[name], "call": call})
        push(model, repo_id, endpoint=hub.url, token="hf_write", retry=FAST)
        assert_exactly_once(hub, ("vqa",), repo_id, others=len(others)), pair


def test_reply_lost_after_the_commit_was_done(hub, folder):
    hub.fault(COMMIT, "lost")
    assert [task.new for task in send(hub, folder)] == [True, True, True]
    assert len(hub.requests(COMMIT)) == 3, "the lost one was found in the history, not sent again"
    assert_exactly_once(hub)


def test_interrupted_upload_is_not_sent_twice(hub, folder):
    hub.fault(COMMIT, 500, times=3)
    send(hub, folder)
    assert len(hub.requests("^PUT ")) == 3, "three blobs for three tasks, though commits were tried six times"


def test_waits_obey_retry_after_and_double_otherwise(hub, folder):
    waits = []
    hub.fault(COMMIT, 429, retry_after=7)
    hub.fault(COMMIT, 503, retry_after="Thu, 01 Jan 1970 00:01:40 GMT")
    hub.fault(COMMIT, 500, times=2)
    send(hub, folder, retry=Retry(sleep=waits.append, clock=lambda: 70.0))
    assert waits == [7, 30, 4, 8]


def test_gives_up_with_a_clear_error_and_goes_on_later(hub, folder):
    hub.fault(COMMIT, 500, times=100, skip=1)
    with pytest.raises(
        HubUnavailableError, match="push task-02-snli to user/atlas: gave up after 4 tries.*500.*Nothing"
    ):
        send(hub, folder, retry=Retry(tries=4, sleep=lambda seconds: None))
    hub.clear()
    hub.fault(COMMIT, 429, retry_after=100_000)
    with pytest.raises(HubUnavailableError, match="after 1 tries, before another wait of 100000 s"):
        send(hub, folder)
    assert [task.new for task in send(hub, folder)] == [False, True, True]
    assert_exactly_once(hub)


def test_nobody_listens(hub, folder):
    with pytest.raises(HubUnavailableError, match="gave up after 3 tries.*ConnectError"):
        push(folder, REPO, endpoint="http://127.0.0.1:9", token="t", retry=Retry(tries=3, sleep=lambda seconds: None))


def test_silent_hub_is_noticed(hub, folder, monkeypatch):
    monkeypatch.setattr(atlas_hub, "TIMEOUT", httpx2.Timeout(0.3))
    close_session()
    hub.fault(COMMIT, "delay", seconds=1.0)
    send(hub, folder)
    close_session()
    assert_exactly_once(hub)


def random_push(hub, model: Path, repo_id: str, rng: random.Random) -> int:
    """A push with up to five random faults at random requests; repeated until it is through. Returns others' commits."""
    hub.clear()
    others = []
    for name in rng.choices(list(FAULTS), k=rng.randint(1, 5)):
        call = lambda: (others.append(1), hub.foreign_commit(repo_id, {"LICENSE": rng.randbytes(4)}))
        options = {"times": rng.randint(1, 3), "skip": rng.randint(0, 3), "call": call}
        hub.fault(**{**FAULTS[name], **options})
    for _ in range(4):
        try:
            push(model, repo_id, endpoint=hub.url, token="hf_write", retry=Retry(tries=5, sleep=lambda seconds: None))
            return len(others)
        except HubUnavailableError:
            continue
    raise AssertionError("not through after four calls")


def random_pushes(hub, tmp_path, count: int):
    model = tmp_path / "random"
    for name in NAMES[:2]:
        learn(model, name, floats=3000)
    for seed in range(count):
        others = random_push(hub, model, f"user/random-{seed}", random.Random(seed))
        assert_exactly_once(hub, NAMES[:2], f"user/random-{seed}", others)
        assert {task.new for task in push(model, f"user/random-{seed}", endpoint=hub.url, retry=FAST)} == {False}


def test_30_random_pushes(hub, tmp_path):
    random_pushes(hub, tmp_path, 30)


@pytest.mark.slow
def test_200_random_pushes(hub, tmp_path):
    random_pushes(hub, tmp_path, 200)


# --- kills ----------------------------------------------------------------------------------------------------------

# The process loads hub.py alone: the package would import torch, ten times.
PUSHER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("hub", sys.argv[1])
hub = sys.modules["hub"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hub)
hub.push(sys.argv[2], sys.argv[3])
"""


def kill_at_request(hub, folder, number: int, late: bool, home: Path) -> int:
    """Pushes in a process that is killed (signal 9) at its request `number`. Returns the exit code."""
    command = [sys.executable, "-c", PUSHER, atlas_hub.__file__, str(folder), REPO]
    hub.clear()
    started = threading.Event()
    fault = hub.fault("", "call", skip=number, late=late)
    with subprocess.Popen(command, env=client_env(hub, home), stderr=subprocess.DEVNULL) as process:
        fault.call = lambda: (started.wait(10), process.kill(), process.wait())
        started.set()
        return process.wait()


def test_kill_at_ten_random_points_then_run_again(hub, folder, tmp_path):
    rng = random.Random(0)
    for number in sorted(rng.sample(range(2, 14), k=10)):
        code = kill_at_request(hub, folder, number, rng.random() < 0.5, tmp_path / "home")
        tags = len(hub.store.repos["model", REPO].tags) if ("model", REPO) in hub.store.repos else 0
        assert code == -9 or tags == 3
    hub.clear()
    send(hub, folder)
    assert_exactly_once(hub)


@pytest.mark.slow
def test_kill_at_every_request_of_a_fresh_push(hub, folder, tmp_path):
    for number in range(40):
        hub.store.repos.pop(("model", REPO), None)
        hub.store.lfs.clear()
        code = kill_at_request(hub, folder, number, number % 2 == 0, tmp_path / "home")
        hub.clear()
        send(hub, folder)
        assert_exactly_once(hub)
        if code == 0:
            return
    raise AssertionError("a push of three tasks should end before its 40th request")


# --- several writers ------------------------------------------------------------------------------------------------


def at_once(calls: list) -> list:
    """Runs the calls in threads; returns results and `HubError`s in order."""
    out: list = [None] * len(calls)

    def run(place: int) -> None:
        try:
            out[place] = calls[place]()
        except atlas_hub.HubError as error:
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
    with pytest.raises(PushConflictError, match="holds task-02-places .commit .* where this folder has task-02-snli"):
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
        with caplog.at_level(logging.WARNING):
            assert send(hub, learn(model, name))[-1].kept == ("README.md",)
        assert "left as others made them: README.md" in caplog.text
    head = hub.store.repos["model", REPO].resolve("main")
    assert hub.store.read(head.tree["README.md"]) == b"# my words"
    assert_exactly_once(hub, others=1)


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


# --- rights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["hf_nobody", "hf_read", "hf_other", False])
@pytest.mark.parametrize("exists", [True, False])
def test_bad_tokens_fail_at_once(hub, token, exists):
    if exists:
        hub.store.create("model", REPO)
    waits = []
    with pytest.raises(AccessError, match="could not get write access to user/atlas: .*(401|403).*hf auth login"):
        check_access(REPO, token=token, endpoint=hub.url, retry=Retry(sleep=waits.append))
    assert waits == [] and hub.bytes_in("^PUT ") == 0


def test_check_access_creates_a_private_repository_once(hub):
    check_access(REPO, private=True, token="hf_write", endpoint=hub.url)
    assert hub.store.repos["model", REPO].private
    hub.clear()
    check_access(REPO, token="hf_write", endpoint=hub.url)
    assert [(entry.method, entry.status) for entry in hub.log] == [("GET", 200)]


def test_card_with_bad_metadata_is_refused(hub, folder):
    (folder / "README.md").write_text("---\ntags: {a: 1}\n---\n")
    snapshot(folder, "nlvr")
    with pytest.raises(PushRejectedError, match="(?s)push task-03-nlvr.*tags.*Correct what the Hub names"):
        send(hub, folder)
    assert_exactly_once(hub, NAMES[:2])


# --- loading --------------------------------------------------------------------------------------------------------


def fetch(hub, cache, **options):
    return download(
        REPO, endpoint=hub.url, cache_dir=cache, retry=Retry(tries=3, sleep=lambda seconds: None), **options
    )


def test_state_after_each_task(hub, folder, tmp_path):
    send(hub, folder)
    for number, name in enumerate(NAMES, 1):
        got = fetch(hub, tmp_path / "cache", revision=f"task-{number:02d}-{name}")
        assert [task.name for task in finished_tasks(got)] == list(NAMES[:number])
        assert json.loads((got / "results.json").read_text()) == {"rows": number}
        for task in NAMES[:number]:
            for file in atlas_hub.TASK_FILES:
                assert (got / task / file).read_bytes() == (folder / task / file).read_bytes()
        assert not (got / "README.md").exists()


def test_tasks_and_what_they_reuse(hub, folder, tmp_path):
    send(hub, folder)
    hub.clear()
    got = fetch(hub, tmp_path / "cache", tasks=["snli"])
    assert sorted(path.name for path in got.iterdir()) == ["atlas.json", "results.json", "snli", "vqa"]
    assert hub.requests("nlvr/") == [] and len(hub.requests("GET .*safetensors")) == 2
    with pytest.raises(FolderError, match=r"no finished task \['climb'\]; it has \['vqa', 'snli', 'nlvr'\]"):
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
    hub.fault("GET .*/resolve/.*/vqa/", "call", call=lambda: send(hub, more))
    got = fetch(hub, tmp_path / "cache")
    assert got.name == done[0].commit and [task.name for task in finished_tasks(got)] == ["vqa"]


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "task.json"])
def test_flipped_byte_is_named_with_the_way_to_clear_it(hub, folder, tmp_path, file):
    send(hub, folder)
    hub.fault(f"GET .*/snli/{file}", "flip")
    with pytest.raises(CorruptFileError, match=f"(?s)snli/{file} has sha256.*atlas.json records.*delete `") as caught:
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
    with pytest.raises(FolderError, match="(?s)does not hold a model that atlas_hf pushed"):
        download("user/empty", endpoint=hub.url, cache_dir=tmp_path / "cache")


def test_listed_file_that_is_missing(hub, folder, tmp_path):
    send(hub, folder)
    hub.foreign_commit(REPO, {"vqa/task.json": None})
    with pytest.raises(CorruptFileError, match="vqa/task.json is missing, though atlas.json lists it"):
        fetch(hub, tmp_path / "cache")


def test_hostile_atlas_json_fetches_nothing_else(hub, tmp_path):
    hub.store.create("model", REPO)
    tasks = {"../../up": {"position": 1, "experience": [], "files": {}}}
    hub.foreign_commit(REPO, {"atlas.json": json.dumps({"format_version": 1, "tasks": tasks}).encode()})
    with pytest.raises(FolderError, match="cannot be a task's name"):
        fetch(hub, tmp_path / "cache")
    assert {entry.path.rsplit("/", 1)[1] for entry in hub.requests("(GET|HEAD) /user")} == {"atlas.json"}
