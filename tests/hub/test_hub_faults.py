"""Pushing to a Hub that fails: every fault, alone, in pairs and at random."""

import itertools
import random
import time
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi, get_session, set_client_factory
from huggingface_hub.utils import _http

from atlas_hf.hub import HubError, HubUnavailableError, Retry, push, retry
from shared.hub_models import (
    COMMIT,
    FAST,
    FAULTS,
    HISTORY,
    NAMES,
    QUIET,
    REPO,
    assert_exactly_once,
    learn,
    script,
    send,
)

pytestmark = QUIET


@pytest.mark.parametrize("name", FAULTS)
def test_one_fault(hub, folder, name):
    others = script(hub, REPO, [name])
    send(hub, folder)
    assert hub.faults[0].struck == hub.faults[0].times
    assert_exactly_once(hub, others=len(others))


def test_faults_in_pairs(hub, tmp_path):
    """All 300 pairs, a push of one small task each; in three a commit has landed before the second could strike."""
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
    monkeypatch.setattr(retry, "TIMEOUT", httpx2.Timeout(0.3))
    waits = []
    hub.fault(COMMIT, "delay", seconds=1.0)
    send(hub, folder, retry=Retry(sleep=waits.append))
    assert waits == [1.0]
    while len(hub.requests(COMMIT)) < 4:
        time.sleep(0.05)
    assert sorted(entry.status for entry in hub.requests(COMMIT)) == [200, 200, 200, 412]
    assert_exactly_once(hub)


def test_silent_listing_is_noticed(hub, folder, monkeypatch):
    """The client asks for pages with `timeout=None`, so a time-out of the client does not reach them."""
    send(hub, folder)
    monkeypatch.setattr(retry, "TIMEOUT", httpx2.Timeout(0.3))
    hub.fault(HISTORY, "delay", seconds=1.0, times=6)
    waits = []
    assert not any(task.new for task in send(hub, folder, retry=Retry(sleep=waits.append)))
    assert waits == [1.0], "the client tries six times, then we begin anew"


@pytest.fixture
def seen():
    """The time-outs of the requests that reach the transport, for each client time-out that is set."""
    found = []

    def answer(request):
        found.append(request.extensions["timeout"])
        return httpx2.Response(200)

    def client(timeout):
        set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(answer), timeout=timeout))

    yield client, found
    set_client_factory(_http.default_client_factory)


def test_time_outs_of_the_user_are_kept(seen):
    set_client, found = seen
    for timeout, limit in ((5, httpx2.Timeout(5)), (None, retry.TIMEOUT)):
        set_client(timeout)
        with retry.limited_time():
            get_session().get("http://hub/")
        assert found.pop() == limit.as_dict()
        get_session().get("http://hub/")
        assert found.pop() == httpx2.Timeout(timeout).as_dict()


def test_the_client_is_the_users_before_and_after_a_push(hub, folder):
    def state():
        client = get_session()
        return _http._GLOBAL_CLIENT_FACTORY, client, client.timeout, client.event_hooks

    before = state()
    send(hub, folder)
    hub.fault(HISTORY, 500, times=100)
    with pytest.raises(HubUnavailableError, match="gave up after 2 tries"):
        send(hub, folder, retry=Retry(tries=2, sleep=lambda seconds: None))
    assert state() == before and before[0] is _http.default_client_factory


def test_the_time_is_limited_until_the_last_of_several_calls_ends(seen):
    set_client, found = seen
    set_client(None)
    with retry.limited_time():
        with retry.limited_time():
            pass
        get_session().get("http://hub/")
    assert found == [retry.TIMEOUT.as_dict()]


def test_errors_of_hf_xet(hub, folder, monkeypatch):
    """It raises bare RuntimeErrors for whatever happens on the way, and a PermissionError for a refusal."""
    create_commit, errors = HfApi.create_commit, [RuntimeError("xet: reset"), PermissionError("xet: denied")]
    monkeypatch.setattr(HfApi, "create_commit", lambda *args, **options: raise_next(errors))
    with pytest.raises(HubError, match="could not push task-01-vqa to user/atlas: xet: denied .PermissionE"):
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
    others made meanwhile.
    """
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
