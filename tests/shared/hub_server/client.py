"""A client that is cut off from the machine: fresh cache, known token, only the test server."""

import os
import socket
import time
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from .server import HubServer


def client_env(hub: HubServer, home: Path | str, token: str | None = "hf_write") -> dict[str, str]:
    """The environment of a client process; to be set before it imports `huggingface_hub`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return kept | settings | ({"HF_TOKEN": token} if token else {})


@contextmanager
def isolated_client(hub: HubServer, home: Path | str, token: str | None = "hf_write") -> Iterator[None]:
    """The same for this process, where `huggingface_hub` may be imported already: its constants are replaced for a
    while. The client's own waits between tries take no time; they are noted in `hub.sleeps`.
    """
    from datasets import config
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http, disable_progress_bars

    home = Path(home)
    paths = {"HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "HF_TOKEN_PATH": str(home / "token")}
    paths |= {"HF_STORED_TOKENS_PATH": str(home / "stored_tokens"), "ENDPOINT": hub.url}
    paths["HUGGINGFACE_CO_URL_TEMPLATE"] = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    fake_time = types.SimpleNamespace(**{name: getattr(time, name) for name in ("time", "monotonic", "perf_counter")})
    fake_time.sleep = hub.sleeps.append
    disable_progress_bars()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, client_env(hub, home, token), clear=True))
        switches = {"HF_HUB_DISABLE_XET": True, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_TELEMETRY": True}
        stack.enter_context(mock.patch.multiple(constants, **paths, **switches))
        elsewhere = {"HF_UPDATE_DOWNLOAD_COUNTS": False, "USE_PARQUET_EXPORT": False}  # other hosts than the Hub
        cache = {"HF_DATASETS_CACHE": home / "datasets"}
        stack.enter_context(mock.patch.multiple(config, HF_ENDPOINT=hub.url, **elsewhere, **cache))
        for module in (_http, file_download):
            stack.enter_context(mock.patch.object(module, "time", fake_time))
        yield


@contextmanager
def _loopback_only() -> Iterator[None]:
    """No name but the loopback's is looked up; at the end, an error if one was asked for."""
    asked, look_up = [], socket.getaddrinfo

    def guarded(host, *args, **options):
        if host in ("127.0.0.1", "localhost", None):
            return look_up(host, *args, **options)
        asked.append(host)
        raise socket.gaierror(f"{host}: only the loopback can be reached in this test")

    with mock.patch.object(socket, "getaddrinfo", guarded):
        yield
    assert not asked, f"the client tried to reach {asked}"


@contextmanager
def loopback_hub(home: Path | str, token: str | None = "hf_write", **options) -> Iterator[HubServer]:
    """A running server, and this process's client pointed at it, for a fixture."""
    with HubServer(**options) as hub, isolated_client(hub, home, token), _loopback_only():
        yield hub
