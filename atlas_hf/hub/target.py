"""What a branch of a repository holds: its head, its tags, and the pushes that its history names.

A commit whose reply was lost leaves one question, "did it land?". The history answers it: the description of every
commit carries the push id of its task.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from huggingface_hub import HfApi

from atlas_hf.folder import CARD
from atlas_hf.hub.errors import AccessError

MAY_BE_OTHERS = (CARD, ".png")  # who edits the card on the Hub keeps his version; other files are a conflict
_PUSH_ID = re.compile(r"^atlas-push-id: ([0-9a-f]{64}) (task-\d{2,}-\S+)$(?:\natlas-kept: (.*)$)?", re.MULTILINE)


def push_note(push_id: str, tag: str, kept: list[str]) -> str:
    """The description of a task's commit, which `Target.read` finds again."""
    kept_line = f"\natlas-kept: {'|'.join(kept)}" if kept else ""
    return f"atlas-push-id: {push_id} {tag}{kept_line}"


@dataclass(frozen=True)
class Landed:
    """A push found in the history. `kept`: files of others that it left alone."""

    tag: str
    commit: str
    kept: tuple[str, ...]


class Target:
    """A branch of a repository, and what was last read of it."""

    def __init__(self, api: HfApi, repo_id: str, revision: str):
        self.api, self.repo_id, self.revision = api, repo_id, revision
        self.head = ""
        self.tags: dict[str, str] = {}
        self.pushes: dict[str, Landed] = {}  # by push id, oldest first

    def read(self) -> None:
        """Head and tags; the history only if the head has moved."""
        refs = self.api.list_repo_refs(self.repo_id)
        self.tags = {tag.name: tag.target_commit for tag in refs.tags}
        heads = {branch.name: branch.target_commit for branch in refs.branches}
        if self.revision not in heads:
            raise AccessError(f"{self.repo_id} has no branch {self.revision!r}; its branches are {sorted(heads)}")
        if heads[self.revision] == self.head:
            return
        head, self.pushes = heads[self.revision], {}
        for commit in reversed(self.api.list_repo_commits(self.repo_id, revision=head)):
            for push_id, tag, kept in _PUSH_ID.findall(commit.message):
                self.pushes.setdefault(push_id, Landed(tag, commit.commit_id, tuple(kept.split("|")) if kept else ()))
        self.head = head  # last: a read that failed half way is done again

    def others_files(self, paths: list[str]) -> set[str]:
        """Those of `paths` that the head does not hold as the last push wrote them, or that it found to be others'."""
        last = next(reversed(self.pushes.values()), Landed("", "", ()))
        if last.commit == self.head:
            return set(last.kept) & set(paths)
        before = self._blobs(last.commit, paths) if last.commit else {}
        now = self._blobs(self.head, paths)
        changed = {path for path in paths if before.get(path) != now.get(path)} | (set(last.kept) & set(paths))
        return {path for path in changed if path in now or not path.endswith(MAY_BE_OTHERS)}

    def _blobs(self, commit: str, paths: list[str]) -> dict[str, str]:
        found = self.api.get_paths_info(self.repo_id, paths, revision=commit)
        return {item.path: getattr(item, "blob_id", "a folder") for item in found}
