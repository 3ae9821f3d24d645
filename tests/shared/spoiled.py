"""Folders that somebody altered, and what loading them must come to."""

import json

import pytest
from safetensors.torch import load_file, save_file

from atlas_hf import AtlasModel
from atlas_hf.folder import INDEX, file_sha256
from shared.comparing import Unchanged

WEIGHTS = "adapter_model.safetensors"


def reseal(folder, task):
    """Make `atlas.json` agree with altered files, as somebody who means harm would."""
    index = json.loads((folder / INDEX).read_text())
    files = index["tasks"][task]["files"]
    files.update({name: file_sha256(folder / task / name) for name in files})
    (folder / INDEX).write_text(json.dumps(index))


def alter_tensors(folder, task, change):
    path = folder / task / WEIGHTS
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    reseal(folder, task)


def alter_json(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def refused(learner, folder, error, kind=ValueError, tasks=None):
    """Into a model that holds something, and from nothing."""
    with Unchanged(learner, folder), pytest.raises(kind, match=error):
        learner.load_tasks(folder, tasks)
    with pytest.raises(kind, match=error):
        AtlasModel.from_pretrained(folder, tasks=tasks)
