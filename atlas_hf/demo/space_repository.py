"""Files to a Space: one commit, nothing sent twice, nobody's edits overwritten.

As `atlas_hf.hub.pushing`, with less to remember: what is to be there is compared with what is there, by content, so a
commit whose reply was lost shows as done. The last commit of ours, found by its description, tells what others edited.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.hf_api import GitCommitInfo, RepoFile

from atlas_hf.folder import CARD, file_sha256
from atlas_hf.hub.access import check_access
from atlas_hf.hub.errors import PushConflictError
from atlas_hf.hub.retry import Retry, until_done

logger = logging.getLogger(__name__)
SPACE = {"repo_type": "space"}
NOTE, KEPT = "atlas-space-files", f" (left {CARD} as others made it)"


@dataclass(frozen=True)
class FilledSpace:
    """A Space as it is now. `new`: files that this push changed. `kept`: a card that others edited, left as it is."""

    repo_id: str
    commit: str
    new: tuple[str, ...]
    kept: tuple[str, ...]


def push_space(
    files: Mapping[str, Path | bytes],
    repo_id: str,
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
    repo_id = check_access(repo_id, private=private, token=token, endpoint=endpoint, retry=retry, **made)
    step = _Fill(HfApi(endpoint=endpoint, token=token), repo_id, files)
    return until_done(step, f"fill the Space {repo_id}", retry)


class _Fill:
    """One try: read, then commit what differs."""

    def __init__(self, api: HfApi, repo_id: str, files: Mapping[str, Path | bytes]) -> None:
        self.api, self.repo_id, self.files = api, repo_id, files
        self.sent: tuple[str, ...] = ()

    def __call__(self) -> FilledSpace:
        commits = self.api.list_repo_commits(self.repo_id, **SPACE)
        head = self._digests(commits[0].commit_id)
        changed = [path for path, source in self.files.items() if head.get(path) not in _digests_of(source)]
        kept = self._others(changed, head, commits)
        changed = [path for path in changed if path not in kept]
        commit = commits[0].commit_id
        if changed:
            self.sent = tuple(changed)
            commit = self._commit(changed, kept, commit)
        return FilledSpace(self.repo_id, commit, self.sent, tuple(kept))

    def _commit(self, paths: list[str], kept: list[str], head: str) -> str:
        made = self.api.create_commit(
            self.repo_id,
            [CommitOperationAdd(path, self.files[path]) for path in paths],
            commit_message="Update the demo",
            commit_description=f"{NOTE}{KEPT if kept else ''}",
            parent_commit=head,
            **SPACE,
        )
        return made.oid

    def _digests(self, commit: str) -> dict[str, str]:
        """By path: the sha256 of what is in LFS, else git's own digest."""
        tree = self.api.list_repo_tree(self.repo_id, recursive=True, revision=commit, **SPACE)
        files = [item for item in tree if isinstance(item, RepoFile)]
        return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}

    def _others(self, changed: list[str], head: dict[str, str], commits: list[GitCommitInfo]) -> list[str]:
        """Of the files to change, the card, if others edited it. Raises `PushConflictError` for other files."""
        ours = next((one for one in commits if NOTE in one.message), None)
        before = self._digests((ours or commits[-1]).commit_id)
        if ours is None:  # the Hub itself puts a card into a new Space
            before = {path: digest for path, digest in before.items() if path == CARD}
        edited = [path for path in changed if before.get(path) != head.get(path)]
        if conflicts := [path for path in edited if path != CARD]:
            raise PushConflictError(
                f"the Space {self.repo_id} was changed by others since the last push of this demo: {conflicts}."
                " Nothing was overwritten. Undo their change there, or push to another Space"
            )
        theirs = CARD in edited or (ours is not None and KEPT in ours.message and CARD in changed)
        if not theirs or CARD not in head:
            return []
        logger.warning("%s: left as others made it: %s", self.repo_id, CARD)
        return [CARD]


def _digests_of(source: Path | bytes) -> tuple[str, str]:
    """The digests by which a file may be known: git's, and LFS's."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    plain = hashlib.sha256(content).hexdigest() if isinstance(source, bytes) else file_sha256(source)
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), plain
