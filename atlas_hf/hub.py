"""A folder of tasks to the Hub, one commit and one tag per task, exactly once; and back. Knows files, not models.

Why not `upload_folder` or `push_to_hub` of the mixins: they may split a push into several commits and repeat a commit
whose reply was lost. `create_commit(parent_commit=head)` is one request that the client never repeats, so a try that
failed leaves one question, "did it land?", and the history answers it: every commit carries the push id of its task.
"""

import hashlib
import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, set_client_factory, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils import _http, validate_repo_id

from atlas_hf import storage
from atlas_hf.storage import AtlasFormatError, Index, TaskRecord

logger = logging.getLogger(__name__)
T = TypeVar("T")

CARD, HISTORY = "README.md", ".history"
INDEX_LIMIT = 16 * 2**20  # bytes; a larger atlas.json is not one that we wrote
TIMEOUT = httpx2.Timeout(60.0, connect=15.0)
PUSH_ID = re.compile(r"^atlas-push-id: ([0-9a-f]{64}) (task-\d{2,}-\S+)$(?:\natlas-kept: (.*)$)?", re.MULTILINE)
MAY_BE_OTHERS = (CARD, ".png")  # who edits the card on the Hub keeps his version; other files are a conflict


class HubError(RuntimeError):
    """What went wrong between a folder and the Hub.

    `push` and `download` raise this, or `ValueError` for wrong arguments and files (`AtlasFormatError` is one): a
    training run that catches both outlives a failed push.
    """


class FolderError(HubError, ValueError):
    """A folder or repository does not hold what was asked for."""


class AccessError(HubError):
    """No token, a wrong one, one without the right to do this, or no such repository or revision."""


class PushConflictError(HubError):
    """The repository holds another history than the folder."""


class PushRejectedError(HubError):
    """The Hub will not take this push, however often it is sent."""


class HubUnavailableError(HubError):
    """The Hub could not be reached, or kept failing. Nothing is lost: push again later."""


class CorruptFileError(HubError):
    """A file does not have the sha256 that atlas.json records."""


@dataclass(frozen=True)
class Retry:
    """How often and how patiently to try. Waits double from `first_wait` to `longest_wait` seconds; `Retry-After` is
    obeyed, but a wait beyond `patience` seconds ends the tries. `sleep` and `clock` are for tests."""

    tries: int = 8
    first_wait: float = 1.0
    longest_wait: float = 60.0
    patience: float = 900.0
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Finished:
    """A finished task of atlas.json."""

    name: str
    record: TaskRecord

    @property
    def tag(self) -> str:
        return f"task-{self.record.position:02d}-{self.name}"

    @property
    def push_id(self) -> str:
        """Digest of the task and its manifest. The shared files are left out: a card drawn anew is the same push."""
        content = {"task": self.name, "position": self.record.position, "files": self.record.files}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def paths(self) -> list[str]:
        return [f"{self.name}/{file}" for file in storage.TASK_FILES]


@dataclass(frozen=True)
class Pushed:
    """A task on the Hub. `new`: it was not there when `push` began with it. `kept`: files that others had changed
    there, left as they made them."""

    task: str
    tag: str
    commit: str
    new: bool
    kept: tuple[str, ...] = ()


# --- the folder -----------------------------------------------------------------------------------------------------


def finished_tasks(folder: Path | str) -> list[Finished]:
    """The tasks of a saved folder up to the first that is not finished. Raises `AtlasFormatError`."""
    done = []
    for number, (name, record) in enumerate(Index.load(Path(folder)).tasks.items(), start=1):
        if record.position != number:
            raise AtlasFormatError(f"{storage.INDEX}: task '{name}' is number {number}, not {record.position!r}.")
        if record.stage != "complete":
            break
        done.append(Finished(name, record))
    return done


def snapshot(folder: Path | str, task: str) -> Path:
    """Keeps the shared files (atlas.json, results.json, README.md, plots) as they are now, just after `task`.

    They become the root files of that task's commit, whenever it is pushed. Written to `.history/NN-<task>/`, which
    appears whole or not at all; called again, it replaces what was kept. Raises `FolderError` if `task` is not the
    last finished task.
    """
    folder = Path(folder)
    done = finished_tasks(folder)
    if not done or done[-1].name != task:
        raise FolderError(
            f"{task!r} is not the last finished task of {folder}; finished: {[one.name for one in done]}"
        )
    with storage.replacing(_kept(folder, done[-1])) as kept:
        kept.mkdir()
        for source in _shared_files(folder):
            shutil.copyfile(source, kept / source.name)
    return _kept(folder, done[-1])


def _kept(folder: Path, task: Finished) -> Path:
    return folder / HISTORY / f"{task.record.position:02d}-{task.name}"


def _shared_files(folder: Path) -> list[Path]:
    named = [folder / name for name in (storage.INDEX, storage.RESULTS, CARD)]
    return [path for path in [*named, *sorted(folder.glob("*.png"))] if path.is_file()]


def _commit_files(folder: Path, done: list[Finished]) -> dict[str, Path | bytes]:
    """Path in the repository to source, for the commit of the last task of `done`. Raises `AtlasFormatError`."""
    task = done[-1]
    storage.check_task_folder(folder, task.name, task.record)
    files: dict[str, Path | bytes] = {path: folder / path for path in task.paths}
    if (card := folder / task.name / CARD).is_file():
        files[f"{task.name}/{CARD}"] = card
    return files | _root_files(folder, done)


def _root_files(folder: Path, done: list[Finished]) -> dict[str, Path | bytes]:
    """The shared files as they were after the last task of `done`: kept by `snapshot`, or the root's if nothing was
    learned since; failing both, an atlas.json cut to these tasks."""
    for place in (_kept(folder, done[-1]), folder):
        if (place / storage.INDEX).is_file() and _push_ids(place) == [task.push_id for task in done]:
            return {path.name: path for path in _shared_files(place)}
    index = replace(Index.load(folder), tasks={task.name: task.record for task in done})
    return {storage.INDEX: json.dumps(asdict(index), indent=2).encode()}


def _push_ids(folder: Path) -> list[str]:
    return [Finished(name, record).push_id for name, record in Index.load(folder).tasks.items()]


# --- trying again ---------------------------------------------------------------------------------------------------

_limit_lock = threading.Lock()


def _limit_time() -> None:
    """Gives the client of `huggingface_hub` time-outs where it has none, which is its default.

    The factory is replaced, not the client, which is made anew after a failed connection. Once per process: replacing
    it closes the client in use.
    """
    with _limit_lock:
        make = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
        if getattr(make, "limits_time", False):
            return

        def limited() -> httpx2.Client:
            client = make()
            if client.timeout == httpx2.Timeout(None):
                client.timeout = TIMEOUT
            return client

        limited.limits_time = True
        set_client_factory(limited)


def _until_done(step: Callable[[], T], what: str, retry: Retry) -> T:
    """Calls `step`, which must begin by reading the state of the Hub, until it returns. Raises a `HubError`."""
    _limit_time()
    waited = 0.0
    for tried in range(1, retry.tries + 1):
        try:
            return step()
        except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
            if isinstance(error, (HubError, AtlasFormatError)):
                raise
            reason = _temporary(error)
            if reason is None:
                _refuse(error, what)
                raise
            wait = _wait(reason, tried, retry)
            waited += wait
            cause = f"{type(reason).__name__}: {str(reason).strip()}"
            if tried == retry.tries or waited > retry.patience:
                raise HubUnavailableError(
                    f"could not {what}: gave up after {tried} tries, before another wait of {wait:g} s. Nothing is"
                    f" lost: a push continues where it stopped, so try again later. The last error was {cause}"
                ) from error
            logger.warning("%s: %s. Try %d in %g s", what, cause.partition("\n")[0], tried + 1, wait)
            retry.sleep(wait)
    raise ValueError(f"Retry.tries is {retry.tries}; it must be at least 1")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _temporary(error: BaseException) -> BaseException | None:
    """The error to wait for, or None if waiting does not help. The client wraps what stopped an upload."""
    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            return cause if status in (408, 409, 412, 425, 429) or status >= 500 else None
        if isinstance(cause, OfflineModeIsEnabled):
            return None
        if isinstance(cause, (httpx2.TransportError, httpx2.DecodingError, ConnectionError, json.JSONDecodeError)):
            return cause  # a reply that is not JSON comes from a proxy between us and the Hub
    # hf_xet reports whatever happens to it as a bare RuntimeError; each try begins by reading, so one more is safe
    return error if type(error) is RuntimeError and error.__cause__ is None else None


def _wait(error: BaseException, tried: int, retry: Retry) -> float:
    headers = error.response.headers if isinstance(error, HfHubHTTPError) else {}
    asked = headers.get("Retry-After", "").strip()
    if asked.isdigit():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - retry.clock())
    except ValueError:  # no header, or one that is neither seconds nor a date
        return min(retry.first_wait * 2 ** (tried - 1), retry.longest_wait)


def _refuse(error: BaseException, what: str) -> None:
    """Raises the clear error for what waiting does not cure. Returns for a `ValueError`, which is clear already."""
    cause = next((one for one in _causes(error) if isinstance(one, (HfHubHTTPError, OfflineModeIsEnabled))), None)
    text = f"could not {what}: {str(cause or error).strip()}"
    if isinstance(cause, OfflineModeIsEnabled):
        raise HubUnavailableError(f"{text} Unset HF_HUB_OFFLINE, or give a commit sha that is in the cache") from error
    if isinstance(cause, EntryNotFoundError):
        raise FolderError(f"{text}\nThe repository does not hold a whole model that atlas_hf pushed") from error
    if isinstance(cause, RevisionNotFoundError):
        raise AccessError(f"{text}\nGive a branch, a tag such as task-01-<name>, or a commit sha") from error
    status = cause.response.status_code if cause is not None else None
    if status in (401, 403, 404) or isinstance(error, LocalTokenNotFoundError):
        raise AccessError(
            f"{text}\nCheck the repository's name, and that the token (`hf auth login`) may do this"
        ) from error
    if cause is not None or re.search("README.md|LFS batch", str(error)):
        raise PushRejectedError(f"{text}\nCorrect what the Hub names, then push again") from error
    if not isinstance(error, ValueError):  # a full disk, a refusal by hf_xet ...
        raise HubError(f"{text} ({type(error).__name__})") from error


# --- pushing --------------------------------------------------------------------------------------------------------


def check_access(
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    retry: Retry = Retry(),  # noqa: B008 (frozen)
) -> str:
    """Makes sure that `repo_id` exists and that the token may write to it; creates it if it is missing. Returns its
    full name: to one without a name space, the user's is added.

    Call it before training, so that a bad token fails in the first second. Raises `AccessError`, `PushRejectedError`
    or `HubUnavailableError`.
    """
    api = HfApi(endpoint=endpoint, token=token)

    validate_repo_id(repo_id)

    def step() -> str:
        full = repo_id if "/" in repo_id else f"{api.whoami()['name']}/{repo_id}"
        try:
            api.auth_check(full, write=True)
        except RepositoryNotFoundError:
            api.create_repo(full, private=private, exist_ok=True)
            api.auth_check(full, write=True)
        return full

    return _until_done(step, f"get write access to {repo_id}", retry)


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
    done = finished_tasks(folder)
    repo_id = check_access(repo_id, private=private, token=token, endpoint=endpoint, retry=retry)
    target = _Target(HfApi(endpoint=endpoint, token=token), repo_id, revision)
    pushed = []
    for number in range(1, len(done) + 1):
        push_one = _PushOne(target, Path(folder), done, number)
        pushed.append(_until_done(push_one, f"push {done[number - 1].tag} to {repo_id}", retry))
    return pushed


@dataclass(frozen=True)
class _Landed:
    """A push found in the history. `kept`: files of others that it left alone."""

    tag: str
    commit: str
    kept: tuple[str, ...]


class _Target:
    """A branch of a repository, and what was last read of it."""

    def __init__(self, api: HfApi, repo_id: str, revision: str):
        self.api, self.repo_id, self.revision = api, repo_id, revision
        self.head = ""
        self.tags: dict[str, str] = {}
        self.pushes: dict[str, _Landed] = {}  # by push id, oldest first

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
            for push_id, tag, kept in PUSH_ID.findall(commit.message):
                self.pushes.setdefault(push_id, _Landed(tag, commit.commit_id, tuple(kept.split("|")) if kept else ()))
        self.head = head  # last: a read that failed half way is done again

    def others_files(self, paths: list[str]) -> set[str]:
        """Those of `paths` that the head does not hold as the last push wrote them, or that it found to be others'."""
        last = next(reversed(self.pushes.values()), _Landed("", "", ()))
        if last.commit == self.head:
            return set(last.kept) & set(paths)
        before = self._blobs(last.commit, paths) if last.commit else {}
        now = self._blobs(self.head, paths)
        changed = {path for path in paths if before.get(path) != now.get(path)} | (set(last.kept) & set(paths))
        return {path for path in changed if path in now or not path.endswith(MAY_BE_OTHERS)}

    def _blobs(self, commit: str, paths: list[str]) -> dict[str, str]:
        found = self.api.get_paths_info(self.repo_id, paths, revision=commit)
        return {item.path: getattr(item, "blob_id", "a folder") for item in found}


class _PushOne:
    """Brings task `number` of `done` to `target`. Each call begins by reading, so it can be repeated at any point."""

    def __init__(self, target: _Target, folder: Path, done: list[Finished], number: int):
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
        files = _commit_files(self.folder, self.done)
        earlier = {path for task in self.done for path in task.paths}
        kept = self._check_others(self.target.others_files(sorted(earlier | set(files))))
        kept_line = f"\natlas-kept: {'|'.join(kept)}" if kept else ""
        self.target.api.create_commit(
            self.target.repo_id,
            # fresh objects in every try: the client marks those it has sent
            [CommitOperationAdd(path, source) for path, source in files.items() if path not in kept],
            commit_message=f"Add task {self.task.record.position}: {self.task.name}",
            commit_description=f"atlas-push-id: {self.task.push_id} {self.task.tag}{kept_line}",
            revision=self.target.revision,
            parent_commit=self.target.head,
        )

    def _check_others(self, changed: set[str]) -> list[str]:
        """The cards and plots to be kept as others left them. Raises `PushConflictError` for other files."""
        kept = sorted(path for path in changed if path.endswith(MAY_BE_OTHERS))
        if conflicts := sorted(changed - set(kept)):
            raise PushConflictError(
                f"{self.target.repo_id} was changed by others since the last push of this model: {conflicts}. Nothing"
                " was overwritten. Undo their change there, or push to another repository"
            )
        if kept:
            logger.warning("%s: left as others made them: %s", self.target.repo_id, ", ".join(kept))
        return kept

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


# --- loading --------------------------------------------------------------------------------------------------------


def download(
    repo_id: str,
    *,
    revision: str | None = None,
    tasks: list[str] | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
    retry: Retry = Retry(tries=3),  # noqa: B008 (frozen)
) -> Path:
    """The folder of `repo_id` at `revision` in the local cache: all its tasks, or `tasks` and what they reuse.

    The revision is resolved once; with a commit sha and a warm cache no request is sent. Only atlas.json, results.json
    and the three files of each task are fetched, and the latter are checked against the sha256 in atlas.json.

    Raises: `AccessError`, `FolderError` (no model of ours), `AtlasFormatError`, `ValueError` (unknown task),
    `CorruptFileError`, `HubUnavailableError`.
    """
    where = {"endpoint": endpoint, "token": token, "cache_dir": cache_dir}
    folder, index, names = _until_done(lambda: _fetch(repo_id, revision, tasks, where), f"download {repo_id}", retry)
    for name in names:
        for file, digest in index.tasks[name].files.items():
            _check_download(folder / name / file, digest)
    return folder


def _fetch(repo_id: str, revision: str | None, tasks: list[str] | None, where: dict) -> tuple[Path, Index, list[str]]:
    """Folder, index and names of the tasks, not yet checked."""
    api = HfApi(endpoint=where["endpoint"], token=where["token"])
    try:
        sha = api.resolve_revision(repo_id, revision=revision, cache_dir=where["cache_dir"]).resolved
    except RevisionResolutionError as error:
        raise error.__cause__ or ConnectionError(str(error)) from None
    path = Path(hf_hub_download(repo_id, storage.INDEX, revision=sha, **where))
    if path.stat().st_size > INDEX_LIMIT:
        raise FolderError(f"{path} has {path.stat().st_size:,} bytes; more than {INDEX_LIMIT:,} are not read")
    index = Index.load(path.parent)
    names = index.closure(tasks)
    paths = [f"{name}/{file}" for name in names for file in storage.TASK_FILES]
    wanted = [storage.INDEX, storage.RESULTS, *paths]
    folder = Path(snapshot_download(repo_id, revision=sha, allow_patterns=wanted, **where))
    for path in paths:  # where the listing failed, the client returns half a folder as if it were whole
        if not (folder / path).is_file():
            hf_hub_download(repo_id, path, revision=sha, **where)
    return folder, index, names


def _check_download(path: Path, expected: str) -> None:
    """The client does not check what it downloads. Raises `CorruptFileError`."""
    if (found := storage.file_sha256(path)) != expected:
        raise CorruptFileError(
            f"{path} has sha256 {found}, but {storage.INDEX} records {expected}. Delete `{path}` and the file it links"
            f" to, `{path.resolve()}`, then load again to fetch a fresh copy"
        )
