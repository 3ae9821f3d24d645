"""What the Hub test server stores: blobs by content, commits as snapshots of a tree, branches and tags. In memory."""

import hashlib
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone

KINDS = ("model", "dataset", "space")
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
MOVED_ON = "A commit has happened since. Please refresh and try again."


class Refused(Exception):
    """A reply other than 200: `status`, the Hub's `X-Error-Code` (may be empty), a message, further headers."""

    def __init__(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}


@dataclass(frozen=True)
class Entry:
    """A file in a tree: the git id of what git stores, the size of the file, and its sha256 if it is kept in LFS."""

    oid: str
    size: int
    lfs: str | None = None


@dataclass(frozen=True)
class Commit:
    sha: str
    parent: str | None
    title: str
    message: str
    author: str
    tree: dict[str, Entry]
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z"))


@dataclass(frozen=True)
class User:
    """Who a token belongs to: `write=False` is a read token; `organizations` are name spaces besides the own."""

    name: str
    write: bool = True
    organizations: tuple[str, ...] = ()

    def may_write(self, repo_id: str) -> bool:
        return self.write and repo_id.split("/", maxsplit=1)[0] in (self.name, *self.organizations)


@dataclass
class Repo:
    kind: str
    id: str
    private: bool = False
    gated: bool = False
    sdk: str | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> Commit:
        """The commit of a branch, tag or full sha. Raises `Refused` 404 RevisionNotFound."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = self.branches.get(name) or self.tags.get(name) or name
        if sha not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]

    def history(self, revision: str) -> list[Commit]:
        """Newest first."""
        commit: Commit | None = self.resolve(revision)
        commits = []
        while commit is not None:
            commits.append(commit)
            commit = self.commits[commit.parent] if commit.parent else None
        return commits


def git_id(content: bytes) -> str:
    """The id git gives a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Store:
    """All repositories and blobs. Every method holds the lock for its whole length, so each is atomic."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.lfs: dict[str, bytes] = {}
        self.users: dict[str, User] = {}

    def find(self, kind: str, repo_id: str, user: User | None, write: bool = False) -> Repo:
        """Raises `Refused` as the Hub does: 401 to strangers, 404 for what a user may not see, 403 for what he may not
        change.
        """
        with self.lock:
            repo = self.repos.get((kind, repo_id))
        visible = repo is not None and (not repo.private or (user is not None and user.may_write(repo_id)))
        if repo is None or not visible:
            raise Refused(401 if user is None else 404, "Repository not found", "RepoNotFound")
        if write and user is None:
            raise Refused(401, "Invalid username or password.")
        if write and not user.may_write(repo_id):
            raise Refused(403, "You don't have the required permissions to write to this repository")
        return repo

    def create(self, kind: str, repo_id: str, private: bool = False, sdk: str | None = None) -> Repo:
        """A repository with the Hub's first commit (.gitattributes). Raises `Refused` 409 if it exists."""
        with self.lock:
            if (kind, repo_id) in self.repos:
                raise Refused(409, f"You already created this {kind} repo: {repo_id}")
            repo = self.repos[kind, repo_id] = Repo(kind, repo_id, private=private, sdk=sdk)
            attributes = {".gitattributes": self.add_blob(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")}
            self._append(repo, "main", Commit(_sha(), None, "initial commit", "", "system", attributes))
            return repo

    def add_blob(self, content: bytes) -> Entry:
        self.blobs[git_id(content)] = content
        return Entry(git_id(content), len(content))

    def add_lfs(self, sha256: str, content: bytes) -> None:
        with self.lock:
            self.lfs[sha256] = content

    def lfs_entry(self, sha256: str) -> Entry:
        """Raises `Refused` 400 when the blob was never uploaded."""
        if sha256 not in self.lfs:
            raise Refused(400, f"LFS pointer pointed to a file that does not exist: {sha256}")
        size = len(self.lfs[sha256])
        return Entry(git_id(LFS_POINTER.format(sha256, size).encode()), size, lfs=sha256)

    def read(self, entry: Entry) -> bytes:
        with self.lock:
            return self.lfs[entry.lfs] if entry.lfs else self.blobs[entry.oid]

    def commit(
        self,
        repo: Repo,
        files: dict[str, bytes | str | None],
        title: str,
        message: str = "",
        *,
        branch: str = "main",
        parent: str | None = None,
        author: str = "user",
    ) -> Commit:
        """One commit. `files`: path to content (bytes), to the sha256 of an uploaded LFS blob (str), or None to
        delete; a deleted path that ends in `/` is a folder. Raises `Refused` 412 when `parent` is not the head.
        """
        with self.lock:
            head = repo.resolve(branch)
            if branch not in repo.branches:
                raise Refused(404, f"Invalid branch: {branch}", "RevisionNotFound")
            if parent is not None and parent != head.sha:
                raise Refused(412, MOVED_ON)
            tree = {path: entry for path, entry in head.tree.items() if not _deleted(path, files)}
            for path, content in files.items():
                if content is not None:
                    tree[path] = self.lfs_entry(content) if isinstance(content, str) else self.add_blob(content)
            return self._append(repo, branch, Commit(_sha(), head.sha, title, message, author, tree))

    def _append(self, repo: Repo, branch: str, commit: Commit) -> Commit:
        repo.commits[commit.sha] = commit
        repo.branches[branch] = commit.sha
        return commit

    def point(self, refs: dict[str, str], name: str, target: str) -> None:
        """A new tag or branch. Raises `Refused` 409 if the name is taken."""
        with self.lock:
            if name in refs:
                raise Refused(409, f"Reference already exists: {name}")
            refs[name] = target


_counter = iter(range(1, 10**12))


def _sha() -> str:
    return hashlib.sha1(f"{next(_counter)} {time.time_ns()}".encode()).hexdigest()


def _deleted(path: str, files: dict[str, bytes | str | None]) -> bool:
    gone: Iterable[str] = (name for name, content in files.items() if content is None)
    return any(path == name or (name.endswith("/") and path.startswith(name)) for name in gone)
