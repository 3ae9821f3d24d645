"""A time-out on every call: the client of `huggingface_hub` waits for ever unless it is told not to."""

from __future__ import annotations

import threading

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.utils import _http

TIMEOUT = httpx2.Timeout(60.0, connect=15.0)
_lock = threading.Lock()


def limit_time() -> None:
    """Gives the client of `huggingface_hub` time-outs where it has none, which is its default.

    The factory is replaced, not the client, which is made anew after a failed connection. Once per process: replacing
    it closes the client in use.
    """
    with _lock:
        make = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
        if getattr(make, "limits_time", False):
            return

        def limited() -> httpx2.Client:
            client = make()
            if client.timeout == httpx2.Timeout(None):
                client.timeout = TIMEOUT
            return client

        limited.limits_time = True
        set_client_factory(limited)
