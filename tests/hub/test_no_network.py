"""Without a network: said soon, in one line, with what to do; and the client of huggingface_hub stays the user's."""

import logging
import re
import socket
import threading
import time

import httpx2
import pytest
from huggingface_hub import close_session, get_session
from huggingface_hub.utils import _http

from atlas_hf import AtlasModel, learn_sequence
from atlas_hf.hub import HubUnavailableError, Retry, check_login, download, ensure_writable_repo, push, retry
from shared.hub_models import COMMIT, QUIET, REPO, assert_exactly_once, send
from shared.tiny import quick, splits, text_spec

STREAM = [(text_spec("has-a"), splits("a", train=8, test=8))]
CALLS = {
    "write": lambda where, wait: ensure_writable_repo("me/x", endpoint=where, token="hf_x", retry=wait),
    "log in": lambda where, wait: check_login("hf_x", endpoint=where, retry=wait),
    "download": lambda where, wait: download("me/x", endpoint=where, token="hf_x", retry=wait, cache_dir="none"),
}


@pytest.fixture(params=["refused", "silent", "unknown"])
def nowhere(request, monkeypatch):
    """An address where nobody listens, one where nobody answers, or one without a number; and the kind of error."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        if request.param == "silent":
            place.listen(50)
        if request.param == "unknown":
            monkeypatch.setattr(socket, "getaddrinfo", unknown)
        yield (
            f"http://localhost:{place.getsockname()[1]}",
            {"silent": "ReadTimeout"}.get(request.param, "ConnectError"),
        )


def unknown(*_, **__):
    raise socket.gaierror(-3, "Temporary failure in name resolution")


@pytest.fixture
def seconds(monkeypatch):
    """A first contact whose every second lasts a twentieth."""
    monkeypatch.setattr(retry, "FIRST_TIMEOUT", httpx2.Timeout(6.0 / 20))
    monkeypatch.setattr(retry, "FIRST_PATIENCE", 8.0 / 20)
    return Retry(first_wait=1 / 20)


@pytest.mark.parametrize("call", CALLS)
def test_c9_no_answer_is_told_soon_and_in_one_line(nowhere, seconds, call, caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (where, kind), start = nowhere, time.monotonic()
    with pytest.raises(
        HubUnavailableError, match=f"could not .*: the Hub does not answer.* {kind}.* Check the network"
    ):
        CALLS[call](where, seconds)
    assert time.monotonic() - start < 20 / 20
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING and "atlas" in record.name]


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_c9_no_answer_is_told_within_15_seconds(nowhere, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = time.monotonic()
    with pytest.raises(HubUnavailableError, match="the Hub does not answer"):
        CALLS[call](nowhere[0], Retry())
    assert time.monotonic() - start < 15


def test_c9_a_download_names_the_cache_and_folders(seconds):
    with pytest.raises(
        HubUnavailableError, match="A folder needs none, nor .*cache already, with HF_HUB_OFFLINE=1"
    ) as e:
        download("me/x", endpoint="http://127.0.0.1:9", retry=seconds)
    assert "\n" not in str(e.value)


def test_c9_learning_fails_before_it_begins_and_names_the_later_push(bert_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PATIENCE", 0.0)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    model = AtlasModel.from_pretrained(bert_folder)
    monkeypatch.setattr(AtlasModel, "check_pushable", lambda self: None)
    args = quick(push_to_hub=True, hub_model_id="me/x", hub_token="hf_x")
    text = "Nothing was learned yet.* drop --push_to .push_to_hub=True., and push later: atlas-hf push FOLDER me/x"
    with pytest.raises(HubUnavailableError, match=text):
        learn_sequence(model, STREAM, args, tmp_path / "out")
    assert not list(tmp_path.iterdir()) and model.tasks == []


@QUIET
def test_c9_once_the_hub_has_answered_we_are_patient(hub, folder):
    """An error is an answer: as long as with any other request."""
    hub.fault("GET .*/auth-check", 503, times=6)
    waits = []
    ensure_writable_repo(REPO, endpoint=hub.url, token="hf_write", retry=Retry(sleep=waits.append))
    assert waits == [1, 2, 4, 8, 16, 32]
    hub.clear()
    hub.fault(COMMIT, "cut", times=6)
    waits.clear()
    send(hub, folder, retry=Retry(sleep=waits.append))
    assert waits == [1, 2, 4, 8, 16, 32]
    assert_exactly_once(hub)
    with pytest.raises(HubUnavailableError, match="gave up after 8 tries"):
        push(folder, REPO, endpoint="http://127.0.0.1:9", token="t", retry=Retry(sleep=waits.append))


def limits(where):
    """The time-outs that a request gets which names none, as seen on its way."""
    seen = []

    def look(request):
        seen.append(request.extensions["timeout"])
        raise httpx2.UnsupportedProtocol("not sent")

    client = get_session()
    before, client.event_hooks = client.event_hooks, {"request": [*client.event_hooks["request"], look]}
    try:
        with pytest.raises(httpx2.UnsupportedProtocol):
            client.get(where)
    finally:
        client.event_hooks = before
    return seen[0]


def test_a_client_made_anew_after_a_refused_connection_is_limited():
    """`http_backoff` closes the client at once, waits for a second, and takes a new one."""
    with retry.limited_time():
        old = get_session()
        close_session()
        time.sleep(3 * retry._LOOK)
        assert get_session() is not old and limits("http://hub/") == retry.TIMEOUT.as_dict()
        new = get_session()
    assert limits("http://hub/") == httpx2.Timeout(None).as_dict()
    assert get_session() is new and _http._GLOBAL_CLIENT_FACTORY is _http.default_client_factory


def test_other_threads_of_the_user_are_not_limited():
    """Those that a call starts are: files are uploaded in several at once."""
    begin, found = threading.Event(), {}

    def ask(name):
        begin.wait()
        found[name] = limits("http://hub/")

    users = threading.Thread(target=ask, args=["user's"])
    users.start()
    with retry.limited_time():
        ours = threading.Thread(target=ask, args=["ours"])
        begin.set()
        users.join()
        ours.start()
        ours.join()
    assert found == {"user's": httpx2.Timeout(None).as_dict(), "ours": retry.TIMEOUT.as_dict()}


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_the_client_is_as_it_was_after_any_end(error):
    client = get_session()
    before, threads = (client.event_hooks, client.timeout, _http._GLOBAL_CLIENT_FACTORY), threading.active_count()
    try:
        with retry.limited_time():
            assert len(client.event_hooks["request"]) == len(before[0]["request"]) + 1
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert (client.event_hooks, client.timeout, _http._GLOBAL_CLIENT_FACTORY) == before and get_session() is client
    assert threading.active_count() == threads


def test_calls_in_many_threads_leave_the_client_as_it_was():
    client = get_session()
    before = client.event_hooks

    def call():
        for _ in range(20):
            with retry.limited_time():
                pass

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.event_hooks == before


@pytest.mark.parametrize("token", ["", "hf_a\nb", "hf_a b", "hf_é", "Bearer\thf_a"])
def test_c10_a_token_that_cannot_be_one_is_told_before_any_request(hub, token):
    for call in (download, push, ensure_writable_repo):
        where = ("none", REPO) if call is push else (REPO,)
        with pytest.raises(ValueError, match="The token is empty or has a character that cannot be in one") as error:
            call(*where, endpoint=hub.url, token=token)
        assert not token or token not in str(error.value)
    with pytest.raises(ValueError, match="The token is empty or has"):
        check_login(token, endpoint=hub.url)
    assert not hub.requests()


@pytest.mark.parametrize("revision", ["", "a\0b", "a b", "a\nb", "../main", "a..b", "a^", "~1", "-x", "a//b", "x/"])
def test_c10_a_revision_that_cannot_be_one_is_told_before_any_request(hub, revision):
    text = re.escape(f"The revision {revision!r} is empty or has a character that cannot be in one. Give a branch")
    with pytest.raises(ValueError, match=text):
        download(REPO, revision=revision, endpoint=hub.url)
    with pytest.raises(ValueError, match=text):
        AtlasModel.from_pretrained(REPO, revision=revision)
    assert not hub.requests()


@pytest.mark.parametrize("revision", ["main", "task-01-vqa", "refs/pr/1", "a" * 40, "v1.0", "été", "user/branch_1"])
def test_c10_a_revision_that_can_be_one_is_asked_for(hub, revision):
    with pytest.raises(Exception, match="could not download user/nothing"):
        download("user/nothing", revision=revision, endpoint=hub.url)
    assert revision == "a" * 40 or hub.requests()


@pytest.mark.parametrize(
    ("repo_id", "text"),
    [
        ("a/b/c", "Repo id must be in the form"),
        ("me/a b", "Repo id must use alphanumeric chars"),
        ("me/a\n", "Repo id must use|Cannot have"),
        ("", "Repo id must"),
        ("me/caf\u00e9", "Repo id must use alphanumeric chars"),
    ],
)
def test_c10_a_repository_that_cannot_be_one_is_told_before_any_request(hub, repo_id, text):
    for call in (download, ensure_writable_repo):
        with pytest.raises(ValueError, match=text):
            call(repo_id, endpoint=hub.url, token="hf_write")
    assert not hub.requests()
