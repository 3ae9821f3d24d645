"""Pushing and loading against the Hub test server: every fault, alone and in pairs; kills; several writers; bytes."""

import hashlib
import itertools
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from hub_server import client_env, loopback_hub
from huggingface_hub import HfApi, close_session, constants, get_session, set_client_factory
from huggingface_hub.utils import _http
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
from atlas_hf.storage import TASK_FILES, AtlasFormatError

REPO = "user/atlas"
NAMES = ("vqa", "snli", "nlvr")
FAST = Retry(sleep=lambda seconds: None)
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's, of its own client


@pytest.fixture
def hub(tmp_path):
    with loopback_hub(tmp_path / "home") as server:
        yield server


def learn(folder: Path, name: str, seed: int = 0, keep: bool = True, floats: int = 4000) -> Path:
    """Adds a finished task to a folder in the layout of section 4, as the sequence does; weights of 16 KB and more."""
    folder.mkdir(exist_ok=True)
    atlas_path = folder / "atlas.json"
    base = {"id": "org/base", "revision": None, "sha256": "0" * 64, "dtype": "float32"}
    empty = {"format_version": 1, "base_model": base, "tasks": {}, "versions": {"atlas_hf": "0"}}
    atlas = json.loads(atlas_path.read_text()) if atlas_path.exists() else empty
    position = len(atlas["tasks"]) + 1
    (folder / name).mkdir()
    weights = np.random.default_rng([seed, position]).standard_normal(floats).astype(np.float32)
    save_file({"down": weights}, folder / name / "adapter_model.safetensors")
    (folder / name / "adapter_config.json").write_text(json.dumps({"peft_type": "ATLAS", "task": name}))
    (folder / name / "task.json").write_text(json.dumps({"name": name, "seed": seed}))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / name).iterdir()}
    reused = {"experience": list(atlas["tasks"])[-1:], "adapter_sha256": "0" * 64}
    atlas["tasks"][name] = {"position": position, "stage": "complete", "files": files, **reused}
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
    """One commit and one tag per task, in order, each with that moment's files; nothing else but others' commits."""
    repo = hub.store.repos["model", repo_id]
    history = [commit for commit in repo.history("main")[::-1] if commit.author == "user"]
    assert [commit.title for commit in history] == [f"Add task {n}: {name}" for n, name in enumerate(names, 1)]
    assert len(repo.commits) == 1 + len(names) + others
    assert repo.tags == {f"task-{n:02d}-{names[n - 1]}": commit.sha for n, commit in enumerate(history, 1)}
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
    files = {"README.md", "atlas.json", "matrix.png", "results.json"} | {f"vqa/{f}" for f in TASK_FILES}
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


def test_positions_must_count(folder):
    atlas = json.loads((folder / "atlas.json").read_text())
    atlas["tasks"]["snli"]["position"] = "2"
    (folder / "atlas.json").write_text(json.dumps(atlas))
    with pytest.raises(AtlasFormatError, match="task 'snli' is number 2, not '2'"):
        finished_tasks(folder)


def test_damaged_weights_are_not_pushed(hub, folder):
    with (folder / "snli" / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(AtlasFormatError, match="snli/adapter_model.safetensors was altered"):
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


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault(hub, folder, name):
    others = script(hub, REPO, [name])
    send(hub, folder)
    assert hub.faults[0].struck == hub.faults[0].times
    assert_exactly_once(hub, others=len(others))


def script(hub, repo_id: str, names: list[str], **changes) -> list:
    """Adds the named faults, and forgets the blobs of earlier pushes so that uploads happen. Returns a list that grows
    by one with each foreign commit."""
    others = []
    hub.store.lfs.clear()

    def foreign() -> None:
        others.append(hub.foreign_commit(repo_id, {"LICENSE": random.randbytes(8)}))

    for name in names:
        hub.fault(**{**FAULTS[name], **{key: change() for key, change in changes.items()}, "call": foreign})
    return others


def test_faults_in_pairs(hub, tmp_path):
    """All 300 pairs, a push of one small task each. (In three a commit has landed before the second could strike.)"""
    model = learn(tmp_path / "model", "vqa")
    both = 0
    for number, pair in enumerate(itertools.combinations(FAULTS, 2)):
        hub.clear()
        others = script(hub, f"user/pair-{number}", pair)
        push(model, f"user/pair-{number}", endpoint=hub.url, token="hf_write", retry=FAST)
        both += all(fault.struck == fault.times for fault in hub.faults)
        assert_exactly_once(hub, ("vqa",), f"user/pair-{number}", len(others))
    assert both == 297


def test_reply_lost_after_the_commit_was_done(hub, folder):
    hub.fault(COMMIT, "lost")
    assert [task.new for task in send(hub, folder)] == [True, True, True]
    assert len(hub.requests(COMMIT)) == 3, "the lost one was found in the history, not sent again"
    assert_exactly_once(hub)


def test_history_that_could_not_be_read_is_not_taken_for_an_empty_one(hub, folder):
    send(hub, folder)
    hub.fault(HISTORY, 504, times=7)
    assert not any(task.new for task in send(hub, folder))
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
        HubUnavailableError, match="(?s)push task-02-snli to user/atlas: gave up after 4 tries.*Nothing is lost.*500"
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


def test_silent_hub_is_noticed_and_its_late_commit_lands_nowhere(hub, folder, monkeypatch):
    monkeypatch.setattr(atlas_hub, "TIMEOUT", httpx2.Timeout(0.3))
    close_session()
    waits = []
    hub.fault(COMMIT, "delay", seconds=1.0)
    send(hub, folder, retry=Retry(sleep=waits.append))
    close_session()
    assert waits == [1.0]
    while len(hub.requests(COMMIT)) < 4:
        time.sleep(0.05)
    assert sorted(entry.status for entry in hub.requests(COMMIT)) == [200, 200, 200, 412]
    assert_exactly_once(hub)


def test_time_outs_of_the_user_are_kept():
    set_client_factory(lambda: httpx2.Client(timeout=5))
    atlas_hub._limit_time()
    assert get_session().timeout == httpx2.Timeout(5)
    set_client_factory(_http.default_client_factory)
    assert get_session().timeout == httpx2.Timeout(None)
    atlas_hub._limit_time()
    assert get_session().timeout == atlas_hub.TIMEOUT


def test_errors_of_hf_xet(hub, folder, monkeypatch):
    """It raises bare RuntimeErrors for whatever happens on the way, and a PermissionError for a refusal."""
    create_commit, errors = HfApi.create_commit, [RuntimeError("xet: reset"), PermissionError("xet: denied")]
    monkeypatch.setattr(HfApi, "create_commit", lambda *args, **options: raise_next(errors))
    with pytest.raises(atlas_hub.HubError, match="could not push task-01-vqa to user/atlas: xet: denied .PermissionE"):
        send(hub, folder)
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    send(hub, folder)
    assert_exactly_once(hub)


def raise_next(errors: list[Exception]) -> None:
    raise errors.pop(0)


def test_arguments_that_are_wrong_are_not_tried_again(hub, folder):
    with pytest.raises(ValueError, match="Repo id must"):
        push(folder, "user/a/b/c", endpoint=hub.url, token="hf_write", retry=Retry(sleep=lambda seconds: 1 / 0))
    with pytest.raises(ValueError, match="Retry.tries is 0; it must be at least 1"):
        send(hub, folder, retry=Retry(tries=0))


def random_push(hub, model: Path, repo_id: str, rng: random.Random) -> int:
    """A push with up to five random faults at random requests, repeated until it is through. Returns how many commits
    others made meanwhile."""
    hub.clear()
    names = rng.choices(list(FAULTS), k=rng.randint(1, 5))
    others = script(hub, repo_id, names, times=lambda: rng.randint(1, 3), skip=lambda: rng.randint(0, 3))
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

# Imports once, then forks a process for each push. Stand-ins for `atlas_hf/__init__.py` and `datasets` spare it torch.
PUSHER = """
import os, sys, types
sys.modules["datasets"] = types.SimpleNamespace(Dataset=None)
package = sys.modules["atlas_hf"] = types.ModuleType("atlas_hf")
package.__path__ = [sys.argv[1]]
from atlas_hf import hub
for folder in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            hub.push(folder.strip(), sys.argv[2])
            os._exit(0)
        finally:
            os._exit(1)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture
def pusher(hub, tmp_path):
    command = [sys.executable, "-c", PUSHER, str(Path(atlas_hub.__file__).parent), REPO]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=client_env(hub, tmp_path / "home"), **pipes) as process:
        yield process
        process.stdin.close()


def kill_at_request(hub, folder, pusher, number: int, late: bool) -> int:
    """A push whose process is killed (signal 9) at its request `number`: before that is served, which then never
    happens, or `late`, when all is done but the reply. Returns the exit code."""
    hub.clear()
    pid, known = [], threading.Event()

    def kill() -> None:
        known.wait(10)
        os.kill(pid[0], signal.SIGKILL)
        if not late:
            raise ConnectionResetError("the client is dead")

    hub.fault("", "call", skip=number, late=late, call=kill)
    print(folder, file=pusher.stdin, flush=True)
    pid.append(int(pusher.stdout.readline()))
    known.set()
    return int(pusher.stdout.readline())


def kill_and_run_again(hub, folder, pusher, number: int, late: bool) -> int:
    """On an empty Hub: a push killed at its request `number`, then a whole one. Returns the exit code of the first."""
    hub.store.repos.clear()
    hub.store.lfs.clear()
    code = kill_at_request(hub, folder, pusher, number, late)
    hub.clear()
    send(hub, folder)
    assert_exactly_once(hub)
    return code


def test_kill_at_ten_random_points_then_run_again(hub, folder, pusher):
    rng = random.Random(0)
    for number in rng.sample(range(30), k=10):
        assert kill_and_run_again(hub, folder, pusher, number, rng.random() < 0.5) == -9


def test_killed_again_and_again(hub, folder, pusher):
    """Each run goes on where the last one was killed, until one gets through."""
    for number in (7, 12, 9, 10):
        assert kill_at_request(hub, folder, pusher, number, late=number % 2 == 0) == -9
    hub.clear()
    send(hub, folder)
    assert_exactly_once(hub)


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_kill_at_every_request(hub, folder, pusher, late):
    codes = [kill_and_run_again(hub, folder, pusher, number, late) for number in range(40)]
    assert codes.count(-9) > 30 and codes == sorted(codes), "killed until a push has fewer requests than that"


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


# --- rights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["hf_nobody", "hf_read", "hf_other", False])
@pytest.mark.parametrize("exists", [True, False])
def test_bad_tokens_fail_at_once(hub, token, exists):
    if exists:
        hub.store.create("model", REPO)
    waits = []
    with pytest.raises(AccessError, match="(?s)could not get write access to user/atlas: .*(401|403).*hf auth login"):
        check_access(REPO, token=token, endpoint=hub.url, retry=Retry(sleep=waits.append))
    assert waits == [] and hub.bytes_in("^PUT ") == 0


def test_name_without_name_space(hub, folder, monkeypatch):
    push(folder, "atlas", endpoint=hub.url, token="hf_write", retry=FAST)
    assert_exactly_once(hub)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(AccessError, match="(?s)could not get write access to atlas: Token is required.*hf auth login"):
        check_access("atlas", endpoint=hub.url)


def test_check_access_creates_a_private_repository_once(hub):
    check_access(REPO, private=True, token="hf_write", endpoint=hub.url)
    assert hub.store.repos["model", REPO].private
    hub.clear()
    assert check_access(REPO, token="hf_write", endpoint=hub.url) == REPO
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
    "name, files", [("../../up", {}), ("a/b", {}), ("vqa", {"../x": "0"}), ("vqa", {"x.pkl": "0"})]
)
def test_hostile_atlas_json_fetches_nothing_else(hub, folder, tmp_path, name, files):
    atlas = json.loads((folder / "atlas.json").read_text())
    atlas["tasks"] = {name: {**atlas["tasks"]["vqa"], "files": files}}
    hub.store.create("model", REPO)
    hub.foreign_commit(REPO, {"atlas.json": json.dumps(atlas).encode()})
    with pytest.raises(AtlasFormatError, match=f"{name}"):
        fetch(hub, tmp_path / "cache")
    assert {entry.path.rsplit("/", 1)[1] for entry in hub.requests("(GET|HEAD) /user")} == {"atlas.json"}


def test_atlas_json_that_is_too_large_or_no_json(hub, tmp_path, monkeypatch):
    hub.store.create("model", REPO)
    hub.foreign_commit(REPO, {"atlas.json": b"{" * 1000})
    with pytest.raises(AtlasFormatError, match="atlas.json is not JSON"):
        fetch(hub, tmp_path / "cache")
    monkeypatch.setattr(atlas_hub, "INDEX_LIMIT", 999)
    with pytest.raises(FolderError, match="atlas.json has 1,000 bytes; more than 999 are not read"):
        fetch(hub, tmp_path / "cache")
