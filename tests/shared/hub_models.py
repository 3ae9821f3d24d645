"""Small models for the Hub test server, and what must be true of a repository that they were pushed to."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from atlas_hf.hub import Retry, push, snapshot

REPO = "user/atlas"
NAMES = ("vqa", "snli", "nlvr")
FAST = Retry(sleep=lambda seconds: None)
# The client's warning, of its own use of the client underneath.
QUIET = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

COMMIT, TAG, REFS, HISTORY = "POST .*/commit/", "POST .*/tag/", "GET .*/refs", "GET .*/commits/"
FAULTS = {
    "commit 500": {"match": COMMIT, "kind": 500},
    "commit 503": {"match": COMMIT, "kind": 503, "retry_after": 5},
    "commit 429": {"match": COMMIT, "kind": 429, "retry_after": 7},
    "commit 412": {"match": COMMIT, "kind": 412},
    "commit 409": {"match": COMMIT, "kind": 409},
    "commit 408": {"match": COMMIT, "kind": 408},
    "commit cut": {"match": COMMIT, "kind": "cut"},
    "commit reply lost": {"match": COMMIT, "kind": "lost"},
    "commit reply short": {"match": COMMIT, "kind": "short"},
    "upload cut": {"match": "PUT /lfs/", "kind": "cut"},
    "upload refused for long": {"match": "PUT /lfs/", "kind": 503, "times": 7},
    "verify lost": {"match": "POST /lfs/", "kind": "lost"},
    "batch 500": {"match": "POST .*/objects/batch", "kind": 500, "times": 6},
    "preupload 429": {"match": "POST .*/preupload/", "kind": 429, "retry_after": 1},
    "yaml check 502": {"match": "POST .*/validate-yaml", "kind": 502},
    "tag 500": {"match": TAG, "kind": 500},
    "tag reply lost": {"match": TAG, "kind": "lost"},
    "refs lost": {"match": REFS, "kind": "lost"},
    "refs 503 later": {"match": REFS, "kind": 503, "skip": 2},
    "history 504": {"match": HISTORY, "kind": 504, "times": 6},
    "history short": {"match": HISTORY, "kind": "short"},
    "paths-info lost": {"match": "POST .*/paths-info/", "kind": "lost"},
    "access check 500": {"match": "GET .*/auth-check", "kind": 500},
    "create lost": {"match": "POST .*/repos/create", "kind": "lost"},
    "foreign commit": {"match": COMMIT, "kind": "call"},
}


def results_after(position: int) -> dict:
    """What `results.json` holds, by its keys alone."""
    return {"tasks": [], "matrix": [], "settings": {}, "rows": position}


def learn(folder: Path, name: str, seed: int = 0, keep: bool = True, floats: int = 4000) -> Path:
    """Adds a finished task to a folder in the layout of section 4, as the sequence does; weights of 16 KB and more."""
    folder.mkdir(exist_ok=True)
    atlas_path = folder / "atlas.json"
    base = {"id": "org/base", "revision": None, "sha256": "0" * 64, "dtype": "float32"}
    empty = {"format_version": 1, "base_model": base, "tasks": {}, "versions": {"atlas_hf": "0"}}
    atlas = json.loads(atlas_path.read_text()) if atlas_path.exists() else empty
    position = len(atlas["tasks"]) + 1
    (folder / name).mkdir()
    weights = np.random.default_rng([seed, position]).standard_normal(floats).astype(np.float32)
    save_file({"down": weights}, folder / name / "adapter_model.safetensors")
    (folder / name / "adapter_config.json").write_text(json.dumps({"peft_type": "ATLAS", "task": name}))
    (folder / name / "task.json").write_text(json.dumps({"name": name, "seed": seed}))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / name).iterdir()}
    reused = {"experience": list(atlas["tasks"])[-1:], "adapter_sha256": "0" * 64}
    atlas["tasks"][name] = {"position": position, "stage": "complete", "files": files, **reused}
    atlas_path.write_text(json.dumps(atlas))
    (folder / "results.json").write_text(json.dumps(results_after(position)))
    (folder / "README.md").write_text(f"---\ntags:\n- atlas\n- atlas_hf\n---\n# After {position} tasks\n")
    (folder / "accuracy_matrix.png").write_bytes(b"\x89PNG" + bytes([position]) * 500)
    if keep:
        snapshot(folder, name)
    return folder


def send(hub, folder, retry=FAST, **options):
    return push(folder, REPO, endpoint=hub.url, token="hf_write", retry=retry, **options)


def assert_exactly_once(hub, names=NAMES, repo_id=REPO, others: int = 0):
    """One commit and one tag per task, in order, each with that moment's files; nothing else but others' commits."""
    repo = hub.store.repos["model", repo_id]
    history = [commit for commit in repo.history("main")[::-1] if commit.author == "user"]
    assert [commit.title for commit in history] == [f"Add task {n}: {name}" for n, name in enumerate(names, 1)]
    assert len(repo.commits) == 1 + len(names) + others
    assert repo.tags == {f"task-{n:02d}-{names[n - 1]}": commit.sha for n, commit in enumerate(history, 1)}
    for number, commit in enumerate(history, 1):
        atlas = json.loads(hub.store.read(commit.tree["atlas.json"]))
        assert list(atlas["tasks"]) == list(names[:number])
        for name in names[:number]:
            for file, digest in atlas["tasks"][name]["files"].items():
                assert hashlib.sha256(hub.store.read(commit.tree[f"{name}/{file}"])).hexdigest() == digest


def script(hub, repo_id: str, names: list[str], **changes) -> list:
    """Adds the named faults, and forgets the blobs of earlier pushes so that uploads happen. Returns a list that grows
    by one with each foreign commit.
    """
    others = []
    hub.store.lfs.clear()

    def foreign() -> None:
        others.append(hub.foreign_commit(repo_id, {"LICENSE": random.randbytes(8)}))

    for name in names:
        hub.fault(**{**FAULTS[name], **{key: change() for key, change in changes.items()}, "call": foreign})
    return others
