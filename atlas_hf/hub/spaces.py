"""Files to a Space: one commit, nothing sent twice, nobody's edits overwritten.

What is to be there is compared with what is there, by content, so a commit whose reply was lost shows as done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from atlas_hf.hub.access import ensure_writable_repo
from atlas_hf.hub.retry import Retry, until_done
from atlas_hf.hub.target import Target


@dataclass(frozen=True)
class FilledSpace:
    """A Space as it is now. `new`: files that this push changed. `kept`: a card that others edited, left as it is."""

    repo_id: str
    commit: str
    new: tuple[str, ...]
    kept: tuple[str, ...]


def fill_space(
    files: Mapping[str, Path | bytes],
    repo_id: str,
    message: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    retry: Retry = Retry(),  # noqa: B008 (frozen)
) -> FilledSpace:
    """Makes a Gradio Space hold these files, by path; creates it if it is missing. Files of others stay.

    Raises: `AccessError`, `PushConflictError` (others edited files that this push would change), `PushRejectedError`,
    `HubUnavailableError` (try again later).
    """
    made = {"repo_type": "space", "space_sdk": "gradio"}
    repo_id = ensure_writable_repo(repo_id, private=private, token=token, endpoint=endpoint, retry=retry, **made)
    target = Target(HfApi(endpoint=endpoint, token=token), repo_id, repo_type="space")
    wanted = {path: _digests(source) for path, source in files.items()}
    push_id = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    sent: list[str] = []

    def step() -> FilledSpace:
        target.read()
        there, commit = target.digests(target.head, list(files)), target.head
        differ = [path for path in files if there.get(path) not in wanted[path]]
        kept = target.leave_to_others(differ)
        if changed := {path: files[path] for path in differ if path not in kept}:
            sent[:] = changed  # for the try after one whose reply was lost
            commit = target.commit(changed, kept, message, push_id)
        return FilledSpace(repo_id, commit, tuple(sent), tuple(kept))

    return until_done(step, f"fill the Space {repo_id}", retry)


def _digests(source: Path | bytes) -> tuple[str, str]:
    """The digests by which a file may be known: git's, and LFS's."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return git, hashlib.sha256(content).hexdigest()
