"""A Hub on the loopback, and a folder of tasks to push to it."""

from pathlib import Path

import pytest

from shared.hub_models import NAMES, learn
from shared.hub_server import loopback_hub


@pytest.fixture
def hub(tmp_path):
    with loopback_hub(tmp_path / "home") as server:
        yield server


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in NAMES:
        learn(tmp_path / "model", name)
    return tmp_path / "model"
