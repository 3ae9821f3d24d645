"""Names of a module, read from its source: the same as the imported ones."""

import dataclasses

import pytest
from transformers import trainer_utils
from transformers import training_args as imported

from atlas_hf import streams
from atlas_hf.benchmark.methods import METHODS
from atlas_hf.benchmark.speed import arguments, ways
from atlas_hf.cli import choices
from atlas_hf.cli.source import Source, source, unknown
from atlas_hf.tuner import AtlasConfig

MODULE = """
import json
import torch
from torch import nn
from os.path import join
from enum import Enum
from dataclasses import dataclass, field

WORDS = ("a", "b")
MORE = {word: len(word) for word in (*WORDS, "cd")}
if MORE:
    UNDER = [*WORDS, "c"]

def word():
    return WORDS[0]

def heavy(x):
    return torch.zeros(x)

CALLED = word().upper()

class Kind(str, Enum):
    ONE = "one"
    TWO = "two"

class Layer(nn.Module):
    name = "layer"
    size = torch.float32

@dataclass
class Settings:
    kind: Kind
    device: torch.device = "cpu"
    gpu: bool = field(default_factory=torch.cuda.is_available, metadata={"help": f"One of {WORDS}.", "x": torch.e})
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "light.py").write_text(MODULE)
    monkeypatch.setattr("atlas_hf.cli.source._file", lambda name: tmp_path / "light.py" if name == "light" else None)
    return Source("light")


def test_constants_functions_and_classes(module):
    assert module["MORE"] == {"a": 1, "b": 1, "cd": 2} and module.UNDER == ["a", "b", "c"] and module.CALLED == "A"
    assert module.join("a", "b") == "a/b" and module.json.dumps(1) == "1"
    assert [one.value for one in module.Kind] == ["one", "two"] and module.Layer.name == "layer"
    assert not hasattr(module.Layer, "size")


def test_fields(module):
    kind, device, gpu = dataclasses.fields(module.Settings)
    assert kind.type is module.Kind and kind.default is dataclasses.MISSING
    assert device.type is str and device.default == "cpu"
    assert gpu.default_factory is unknown and gpu.metadata == {"help": "One of ('a', 'b')."}


def test_what_only_importing_would_tell(module):
    for name in ("heavy", "nn", "nothing"):
        with pytest.raises(KeyError, match=name):
            module[name]
    assert module.torch is unknown
    with pytest.raises(ModuleNotFoundError, match="There is no module no_such.module"):
        Source("no_such.module")


def test_names_of_transformers():
    read = source("transformers.training_args")
    assert read["trainer_log_levels"] == imported.trainer_log_levels
    places = {"OptimizerNames": imported, "SchedulerType": trainer_utils, "HubStrategy": trainer_utils}
    for name, there in places.items():
        assert {one.name: one.value for one in read[name]} == {one.name: one.value for one in getattr(there, name)}


def test_names_of_ours():
    assert list(choices.streams()) == list(streams.STREAMS) and choices.methods() == list(METHODS)
    for name, stream in streams.STREAMS.items():
        assert choices.streams()[name].ORDERS == stream.ORDERS
    there = {one.name for one in dataclasses.fields(AtlasConfig)}
    assert {one.name for one in dataclasses.fields(source("atlas_hf.tuner.config")["AtlasConfig"])} <= there
    assert tuple(ways.BACKBONES) == arguments.BACKBONES


def test_a_wrong_name_is_told_with_the_possible_ones():
    choices.check_names("method", ["atlas"], choices.methods())
    with pytest.raises(ValueError, match="There is no stream 'x'; possible are digits, climb"):
        choices.check_names("stream", ["x"], choices.streams())
