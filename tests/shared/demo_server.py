"""The demo as it is served: the files of a pushed Space, in a process of their own, against the Hub test server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from atlas_hf import hub
from atlas_hf.demo import DIGITS_MODEL, DIGITS_MODEL_ID
from atlas_hf.demo.space import package_files, space_files
from shared.hub_models import FAST
from shared.hub_server import HubServer, client_env, isolated_client

MODEL, SECRET, OTHER = "user/digits", "user/secret", "user/other"
START_SECONDS = 240


@dataclass
class Served:
    """A running demo of the shipped model. Its machine may write to the Hub as `user`; its visitors may not."""

    url: str
    hub: HubServer
    log: Path

    def no_traceback(self) -> bool:
        return "Traceback" not in self.log.read_text()


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[Served]:
    """One for all tests; the Hub has the same model as `MODEL`, a private copy `SECRET`, and a foreign `OTHER`."""
    home = tmp_path_factory.mktemp("served")
    with HubServer() as server:
        fill_hub(server, home)
        write_space(server, home / "space")
        port, log = free_port(), home / "log.txt"
        settings = {"GRADIO_SERVER_PORT": str(port), "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment = client_env(server, home / "process") | settings
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=home / "space", env=environment, stdout=output, stderr=output
            )
        try:
            yield Served(wait_for(f"http://127.0.0.1:{port}/", process, log), server, log)
        finally:
            process.kill()
            process.wait()


def fill_hub(server: HubServer, home: Path) -> None:
    with isolated_client(server, home / "client"):
        hub.push(DIGITS_MODEL, MODEL, retry=FAST)
        hub.push(DIGITS_MODEL, SECRET, private=True, retry=FAST)
    server.store.create("model", OTHER)
    server.foreign_commit(OTHER, {"config.json": b"{}"})


def write_space(server: HubServer, folder: Path) -> None:
    """Push it, and write what the Hub then holds."""
    with isolated_client(server, folder.parent / "client"):
        hub.fill_space(package_files() | space_files(DIGITS_MODEL_ID), "user/demo", "Update the demo", retry=FAST)
    for path, entry in server.store.repos["space", "user/demo"].resolve("main").tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(server.store.read(entry))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen, log: Path) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return url
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"the demo did not start: {log.read_text()[-2000:]}")
