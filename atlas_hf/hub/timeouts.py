"""A time-out on every request: the client of `huggingface_hub` waits for ever unless it is told not to.

It has one client per process, made by the user's factory, and few of its methods take a time-out: `create_commit` and
`list_repo_commits` do not. So while a call of ours runs, a hook of that client limits the requests that have no limit,
those of other threads too; then the client is as it was. A client that is made anew in the middle of a try, after a
refused connection, is limited from the next try on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import get_session

TIMEOUT = httpx2.Timeout(60.0, connect=15.0)
_lock = threading.Lock()


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
