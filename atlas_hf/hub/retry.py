"""Trying again, from the beginning: a step that failed is never resent blindly, it reads the Hub's state first.

Every request has a time-out, since the client of `huggingface_hub` waits for ever unless it is told not to, and few of
its methods take one: `auth_check`, `create_commit` and `list_repo_commits` do not. It has one client per process, made
by the user's factory, which we leave alone. So while a call of ours runs, a hook of that client limits its requests;
those of threads that were there before, and what has a time-out already, are the user's business. A client that takes
its place after a refused connection is found by looking (`_LOOK`): the library waits for a second before it uses it.
Then every client is as it was.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2
from huggingface_hub import get_session
from huggingface_hub.errors import HfHubHTTPError

from atlas_hf.folder import AtlasFormatError
from atlas_hf.hub.errors import HubError, HubUnavailableError, refuse, temporary

logger = logging.getLogger(__name__)
T = TypeVar("T")
TIMEOUT = httpx2.Timeout(60.0, connect=15.0)
# Without a network, a first contact fails within 15 s: a request has 6 s, and after 8 s none is begun.
FIRST_TIMEOUT, FIRST_PATIENCE = httpx2.Timeout(6.0), 8.0
_LOOK = 0.25  # seconds
_lock = threading.Lock()


@dataclass(frozen=True)
class Retry:
    """How often and how patiently to try. Waits double from `first_wait` to `longest_wait` seconds; `Retry-After` is
    obeyed, but a wait beyond `patience` seconds ends the tries. `sleep` and `clock` are for tests.
    """

    tries: int = 8
    first_wait: float = 1.0
    longest_wait: float = 60.0
    patience: float = 900.0
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.time

    def wait(self, error: BaseException, tried: int) -> float:
        """Seconds until the next try, after `tried` tries: what the Hub asks for, or the next doubling."""
        headers = error.response.headers if isinstance(error, HfHubHTTPError) else {}
        asked = headers.get("Retry-After", "").strip()
        if asked.isdigit():
            return float(asked)
        try:
            return max(0.0, parsedate_to_datetime(asked).timestamp() - self.clock())
        except ValueError:  # no header, or one that is neither seconds nor a date
            return min(self.first_wait * 2 ** (tried - 1), self.longest_wait)


def until_done(step: Callable[[], T], what: str, retry: Retry, *, first_contact: bool = False) -> T:
    """Calls `step`, which must begin by reading the state of the Hub, until it returns. Raises a `HubError`.

    `first_contact`: nothing hangs on it yet, so that the Hub has some 15 s to answer at all, be it with an error.
    """
    waited, heard, begun = 0.0, not first_contact, time.monotonic()
    for tried in range(1, retry.tries + 1):
        try:
            with limited_time(TIMEOUT if heard else FIRST_TIMEOUT):
                return step()
        except (HubError, AtlasFormatError):
            raise
        except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
            reason = temporary(error)
            if reason is None:
                refuse(error, what)
                raise
            wait = retry.wait(reason, tried)
            waited += wait
            heard |= isinstance(reason, HfHubHTTPError)
            silent = not heard and max(waited, time.monotonic() - begun + wait) > FIRST_PATIENCE
            if silent or tried == retry.tries or waited > retry.patience:
                raise HubUnavailableError(_gave_up(what, tried, wait, reason, heard)) from error
            level = logging.WARNING if heard else logging.INFO  # what ends soon is told once, by the error
            logger.log(level, "%s: %s. Try %d in %g s", what, _first_line(reason), tried + 1, wait)
            retry.sleep(wait)
    raise ValueError(f"Retry.tries is {retry.tries}; it must be at least 1")


def _gave_up(what: str, tried: int, wait: float, reason: BaseException, heard: bool) -> str:
    if not heard:
        times = f" ({tried} times)" if tried > 1 else ""
        return f"could not {what}: the Hub does not answer{times}, {_first_line(reason)}. Check the network."
    return (
        f"could not {what}: gave up after {tried} tries, before another wait of {wait:g} s. Nothing is lost: a push"
        f" continues where it stopped, so try again later. The last error was {type(reason).__name__}:"
        f" {str(reason).strip()}"
    )


def _first_line(reason: BaseException) -> str:
    return f"{type(reason).__name__}: {str(reason).strip()}".partition("\n")[0]


@contextmanager
def limited_time(timeout: httpx2.Timeout | None = None) -> Iterator[None]:
    """Every request of the block, in this thread and those it starts, that has no time-out of its own or of its client
    gets this one (`TIMEOUT`).
    """
    values = (timeout or TIMEOUT).as_dict()
    strangers = set(threading.enumerate()) - {threading.current_thread()}
    clients: list[httpx2.Client] = []
    ended = threading.Event()

    def limit(request: httpx2.Request) -> None:
        if threading.current_thread() not in strangers and not any(request.extensions["timeout"].values()):
            request.extensions["timeout"] = values

    def look() -> None:
        client = get_session()
        with _lock:  # a new list each time, since another thread may be walking through the old one
            if client not in clients and not ended.is_set():
                clients.append(client)
                client.event_hooks = client.event_hooks | {"request": [*client.event_hooks["request"], limit]}

    def keep_looking() -> None:
        while not ended.wait(_LOOK):
            look()

    look()
    watcher = threading.Thread(target=keep_looking, name="atlas_hf-time-outs", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        with _lock:
            for client in clients:
                hooks = [hook for hook in client.event_hooks["request"] if hook is not limit]
                client.event_hooks = client.event_hooks | {"request": hooks}
