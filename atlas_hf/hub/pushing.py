"""To the Hub: a folder of tasks, one commit and one tag each, exactly once; the files of a Space, in one commit.

Why not `upload_folder` or `push_to_hub` of the mixins: they may split a push into several commits and repeat a commit
whose reply was lost. `create_commit(parent_commit=head)` is one request that the client never repeats, so a try that
failed begins anew by reading what the repository holds (`atlas_hf.hub.target`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from huggingface_hub import HfApi

from atlas_hf.folder import INDEX, Index
from atlas_hf.hub.checks import check_request, is_repository
from atlas_hf.hub.errors import FolderError, PushConflictError
from atlas_hf.hub.folder import Finished, commit_files, finished_tasks
from atlas_hf.hub.retry import Retry, until_done
from atlas_hf.hub.target import Target, ensure_writable_repo


@dataclass(frozen=True)
class Pushed:
    """A task on the Hub. `new`: it was not there when `push` began with it. `kept`: files left as others made them."""

    task: str
    tag: str
    commit: str
    new: bool
    kept: tuple[str, ...] = ()


def pushable_tasks(folder: Path | str) -> list[Finished]:
    """The finished tasks of a folder that others could load: no path of this machine is published.

    Raises `AtlasFormatError`, and `FolderError` for a local backbone.
    """
    done, base = finished_tasks(folder), Index.load(Path(folder)).base_model.id
    if base is None or not is_repository(base):
        raise FolderError(
            f"{Path(folder) / INDEX} names the backbone {base!r}, a local folder, so nobody else could load these "
            "tasks. Push the backbone to the Hub, and learn with it from there."
        )
    return done


def push(
    folder: Path | str,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    revision: str = "main",
    retry: Retry = Retry(),  # noqa: B008 (frozen)
) -> list[Pushed]:
    """Brings every finished task of `folder` to the Hub: one commit and one tag each, exactly once.

    What is there already is not sent. Safe to call again after any interruption, and by several processes at once.

    Raises: `AtlasFormatError`, `AccessError`, `PushConflictError` (another history, or others changed
    files that this push would write), `PushRejectedError`, `HubUnavailableError` (try again later).
    """
    check_request(repo_id, revision, token)
    done = pushable_tasks(folder)
    repo_id = ensure_writable_repo(
        repo_id, private=private, token=token, endpoint=endpoint, retry=retry, first_contact=False
    )
    target = Target(HfApi(endpoint=endpoint, token=token), repo_id, revision)
    pushed = []
    for number in range(1, len(done) + 1):
        push_one = _PushOne(target, Path(folder), done, number)
        pushed.append(until_done(push_one, f"push {done[number - 1].tag} to {repo_id}", retry))
    return pushed


class _PushOne:
    """Brings task `number` of `done` to `target`. Each call begins by reading, so it can be repeated at any point."""

    def __init__(self, target: Target, folder: Path, done: list[Finished], number: int):
        self.target, self.folder, self.all, self.done = target, folder, done, done[:number]
        self.task = done[number - 1]
        self.new: bool | None = None

    def __call__(self) -> Pushed:
        self.target.read()
        self._check_history()
        missing = self.task.push_id not in self.target.pushes
        if self.new is None:
            self.new = missing
        if missing:
            self._commit()
            self.target.read()
        landed = self.target.pushes.get(self.task.push_id)
        if landed is None:  # the Hub's listing lags behind: read again later
            raise ConnectionError(f"the commit of {self.task.tag} is not in the history yet")
        self._tag(landed.commit)
        return Pushed(self.task.name, self.task.tag, landed.commit, self.new, landed.kept)

    def _check_history(self) -> None:
        """Raises `PushConflictError` where folder and repository first differ."""
        for number, (push_id, landed) in enumerate(islice(self.target.pushes.items(), len(self.all))):
            task = self.all[number]
            if task.push_id != push_id:
                raise PushConflictError(
                    f"{self.target.repo_id} holds {landed.tag} (commit {landed.commit}) with other files than"
                    f" {task.tag} of this folder: another training run, or files written anew. Nothing was"
                    " overwritten. Push to another repository, or load theirs and learn your next task from there"
                )

    def _commit(self) -> None:
        files = commit_files(self.folder, self.done)
        kept = self.target.leave_to_others({path for task in self.done for path in task.paths} | set(files))
        title = f"Add task {self.task.record.position}: {self.task.name}"
        self.target.commit(files, kept, title, self.task.push_id, self.task.tag)

    def _tag(self, commit: str) -> None:
        if self.task.tag not in self.target.tags:
            self.target.api.create_tag(self.target.repo_id, tag=self.task.tag, revision=commit)
            self.target.read()
        points_to = self.target.tags.get(self.task.tag)
        if points_to is None:
            raise ConnectionError(f"the tag {self.task.tag} is not listed yet")
        if points_to != commit:
            raise PushConflictError(
                f"tag {self.task.tag} of {self.target.repo_id} points to {points_to}, but the task is in {commit}."
                " Delete the tag there if it is wrong, then push again; or push to another repository"
            )


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
    repo_id = ensure_writable_repo(
        repo_id, private=private, token=token, endpoint=endpoint, retry=retry, repo_type="space"
    )
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
