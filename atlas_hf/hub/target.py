"""A repository, a model's or a Space's: may we write to it, what does it hold; one commit that spares others' edits.

A commit whose reply was lost leaves one question, "did it land?". The history answers it: the description of each of
our commits is a note with the id of its push and the files that it left as others had made them.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.constants import is_offline_mode
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile, RepoFolder

from atlas_hf.folder import CARD
from atlas_hf.hub.checks import check_request, check_token
from atlas_hf.hub.errors import AccessError, HubUnavailableError, PushConflictError
from atlas_hf.hub.retry import Retry, until_done

logger = logging.getLogger(__name__)
FILES = "files"  # in the place of a task's tag: the files of a Space
# The second form is that of the first Spaces.
_NOTE = re.compile(
    rf"^atlas-push-id: ([0-9a-f]{{64}}) (task-\d{{2,}}-\S+|{FILES})$(?:\natlas-kept: (.*)$)?"
    r"|^atlas-space-files(?: \(left (README\.md) as others made it\))?$",
    re.MULTILINE,
)


def ensure_writable_repo(
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    retry: Retry = Retry(),  # noqa: B008 (frozen)
    repo_type: str | None = None,
    first_contact: bool = True,
) -> str:
    """Makes sure that `repo_id` exists and that the token may write to it; creates it if it is missing. Returns its
    full name: to one without a name space, the user's is added.

    Call it before training, so that a bad token fails in the first second, and no network within 15 (False for
    `first_contact` waits as long as `retry` says). Raises `AccessError`, `PushRejectedError` or `HubUnavailableError`,
    and a `ValueError` for what can be no repository or token.
    """
    check_request(repo_id, token=token)
    api = HfApi(endpoint=endpoint, token=token)

    def step() -> str:
        full = repo_id if "/" in repo_id else f"{api.whoami()['name']}/{repo_id}"
        try:
            api.auth_check(full, repo_type=repo_type, write=True)
        except RepositoryNotFoundError:
            sdk = "gradio" if repo_type == "space" else None
            api.create_repo(full, private=private, repo_type=repo_type, space_sdk=sdk, exist_ok=True)
            api.auth_check(full, repo_type=repo_type, write=True)
        return full

    return until_done(step, f"get write access to {repo_id}", retry, first_contact=first_contact)


def check_login(token: str | bool | None = None, *, endpoint: str | None = None, retry: Retry = Retry()) -> None:  # noqa: B008
    """Makes sure that the Hub answers and knows the token, before anything takes long. Raises as
    `ensure_writable_repo`, within 15 s without a network.
    """
    check_token(token)
    until_done(HfApi(endpoint=endpoint, token=token).whoami, "log in to the Hub", retry, first_contact=True)


def check_data_set(repo_id: str, *, endpoint: str | None = None, retry: Retry = Retry(tries=2)) -> None:  # noqa: B008
    """Makes sure that the Hub answers and has this data set; offline, its cache is all that counts. Raises as
    `check_login`.
    """
    if is_offline_mode():
        return
    try:
        what = f"look up the data set {repo_id}"
        until_done(lambda: HfApi(endpoint=endpoint).dataset_info(repo_id), what, retry, first_contact=True)
    except HubUnavailableError as error:
        raise HubUnavailableError(
            f"{error} A folder needs none, nor does what is in the cache already, with HF_HUB_OFFLINE=1."
        ) from error


@dataclass(frozen=True)
class Landed:
    """A push found in the history. `kept`: files of others that it left alone."""

    tag: str
    commit: str
    kept: tuple[str, ...]


NOTHING = Landed("", "", ())


class Target:
    """A branch of a repository, `model` or `space`, by its full name, and what was last read of it."""

    def __init__(self, api: HfApi, repo_id: str, revision: str = "main", repo_type: str = "model") -> None:
        self.api, self.repo_id, self.revision, self.repo_type = api, repo_id, revision, repo_type
        self.first = self.head = ""
        self.tags: dict[str, str] = {}
        self.pushes: dict[str, Landed] = {}  # by push id, oldest first
        self.last = NOTHING

    def read(self) -> None:
        """Head and tags; the history only if the head has moved."""
        refs = self.api.list_repo_refs(self.repo_id, repo_type=self.repo_type)
        self.tags = {tag.name: tag.target_commit for tag in refs.tags}
        heads = {branch.name: branch.target_commit for branch in refs.branches}
        if self.revision not in heads:
            raise AccessError(f"{self.repo_id} has no branch {self.revision!r}; its branches are {sorted(heads)}.")
        if (head := heads[self.revision]) == self.head:
            return
        self.pushes, self.last = {}, NOTHING
        commits = self.api.list_repo_commits(self.repo_id, revision=head, repo_type=self.repo_type)
        for commit in reversed(commits):
            for push_id, tag, kept, card in _NOTE.findall(commit.message):
                self.last = Landed(tag, commit.commit_id, tuple((kept or card).split("|")) if kept or card else ())
                if push_id:
                    self.pushes.setdefault(push_id, self.last)
        self.first, self.head = commits[-1].commit_id, head  # last: a read that failed half way is done again

    def digests(self, commit: str, paths: list[str]) -> dict[str, str]:
        """By path: the sha256 of what is in LFS, else git's own digest."""
        found: Iterable[RepoFile | RepoFolder]
        if self.repo_type == "space":  # it holds hundreds of our files: one listing instead of all their names
            found = self.api.list_repo_tree(self.repo_id, recursive=True, revision=commit, repo_type=self.repo_type)
        else:
            found = self.api.get_paths_info(self.repo_id, paths, revision=commit, repo_type=self.repo_type)
        return {item.path: _digest(item) for item in found}

    def leave_to_others(self, paths: Iterable[str]) -> list[str]:
        """Of the paths that a push is about, the cards and plots that others edited, to be left as they made them.

        Raises `PushConflictError` if they edited other files.
        """
        edited = self._edited_by_others(sorted(paths))
        kept = sorted(path for path in edited if self._may_be_others(path))
        if conflicts := sorted(edited - set(kept)):
            raise PushConflictError(
                f"{self.repo_id} was changed by others since the last push from here: {conflicts}. Nothing was"
                " overwritten. Undo their change there, or push to another repository."
            )
        if kept:
            logger.warning("%s: left as others made them: %s", self.repo_id, ", ".join(kept))
        return kept

    def commit(
        self, files: Mapping[str, Path | bytes], kept: list[str], title: str, push_id: str, tag: str = FILES
    ) -> str:
        """One commit on the head that was read, of the files that are not to be kept; its sha."""
        note = f"atlas-push-id: {push_id} {tag}" + (f"\natlas-kept: {'|'.join(kept)}" if kept else "")
        return self.api.create_commit(
            self.repo_id,
            # fresh objects in every try: the client marks those it has sent
            [CommitOperationAdd(path, source) for path, source in files.items() if path not in kept],
            commit_message=title,
            commit_description=note,
            revision=self.revision,
            parent_commit=self.head,
            repo_type=self.repo_type,
        ).oid

    def _edited_by_others(self, paths: list[str]) -> set[str]:
        """Those of `paths` that the head does not hold as the last push wrote them, or that it found to be others'."""
        kept = set(self.last.kept) & set(paths)
        if self.last.commit == self.head:
            return kept
        before, now = self._before(paths), self.digests(self.head, paths)
        edited = {path for path in paths if before.get(path) != now.get(path)} | kept
        return {path for path in edited if path in now or not self._may_be_others(path)}

    def _before(self, paths: list[str]) -> dict[str, str]:
        """What others found: the files of the last push, or the card that the Hub puts into a new Space."""
        if self.last.commit:
            return self.digests(self.last.commit, paths)
        found = self.digests(self.first, [CARD]) if self.repo_type == "space" else {}
        return {path: digest for path, digest in found.items() if path == CARD}

    def _may_be_others(self, path: str) -> bool:
        """Who edits a card or a plot on the Hub keeps his version, of a Space its own card only."""
        return path == CARD if self.repo_type == "space" else path.endswith((CARD, ".png"))


def _digest(item: RepoFile | RepoFolder) -> str:
    if isinstance(item, RepoFolder):
        return "a folder"
    return item.lfs.sha256 if item.lfs else item.blob_id
