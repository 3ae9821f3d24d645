"""Trying again, from the beginning: a step that failed is never resent blindly, it reads the Hub's state first.

Every request has a time-out, since the client of `huggingface_hub` waits for ever unless it is told not to. It has one
client per process, made by the user's factory, and few of its methods take a time-out: `create_commit` and
`list_repo_commits` do not. So while a call of ours runs, a hook of that client limits the requests that have no limit,
those of other threads too; then the client is as it was. A client that is made anew in the middle of a try, after a
refused connection, is limited from the next try on.
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


def until_done(step: Callable[[], T], what: str, retry: Retry) -> T:
    """Calls `step`, which must begin by reading the state of the Hub, until it returns. Raises a `HubError`."""
    waited = 0.0
    for tried in range(1, retry.tries + 1):
        try:
            with limited_time():
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
            cause = f"{type(reason).__name__}: {str(reason).strip()}"
            if tried == retry.tries or waited > retry.patience:
                raise HubUnavailableError(
                    f"could not {what}: gave up after {tried} tries, before another wait of {wait:g} s. Nothing is"
                    f" lost: a push continues where it stopped, so try again later. The last error was {cause}"
                ) from error
            logger.warning("%s: %s. Try %d in %g s", what, cause.partition("\n")[0], tried + 1, wait)
            retry.sleep(wait)
    raise ValueError(f"Retry.tries is {retry.tries}; it must be at least 1")


@contextmanager
def limited_time() -> Iterator[None]:
    """Every request of the block that has no time-out of its own or of its client gets `TIMEOUT`."""

    def limit(request: httpx2.Request) -> None:
        if not any(request.extensions["timeout"].values()):
            request.extensions["timeout"] = TIMEOUT.as_dict()

    client = get_session()
    with _lock:  # a new list each time, since another thread may be walking through the old one
        client.event_hooks = client.event_hooks | {"request": [*client.event_hooks["request"], limit]}
    try:
        yield
    finally:
        with _lock:
            hooks = [hook for hook in client.event_hooks["request"] if hook is not limit]
            client.event_hooks = client.event_hooks | {"request": hooks}
