"""The endpoints that show repositories and hand out files."""

import re
from urllib.parse import parse_qs

from .endpoints import FILES, REPO, Call, Reply, as_json, check_gate, route
from .store import LFS_POINTER, Commit, Entry, Refused


@route("GET", REPO + "(?:/revision/(?P<revision>[^/]+))?")
def repo_info(call: Call) -> Reply:
    repo = call.repo()
    commit = repo.resolve(call.parts.get("revision") or "main")
    siblings = [{"rfilename": path, **_sizes(call, entry)} for path, entry in sorted(commit.tree.items())]
    info = {"_id": repo.id, "id": repo.id, "author": repo.id.split("/")[0], "sha": commit.sha, "private": repo.private}
    info |= {"gated": repo.gated, "disabled": False, "lastModified": commit.date, "createdAt": commit.date, "tags": []}
    info |= {"downloads": 0, "likes": 0, "siblings": siblings}
    return as_json(info | ({"sdk": repo.sdk} if repo.kind == "space" else {}))


def _sizes(call: Call, entry: Entry) -> dict:
    if "blobs" not in call.query:
        return {}
    return {"blobId": entry.oid, "size": entry.size} | _lfs_part(entry, name="sha256")


def _lfs_part(entry: Entry, name: str = "oid") -> dict:
    pointer_size = len(LFS_POINTER.format(entry.lfs, entry.size))
    return {"lfs": {name: entry.lfs, "size": entry.size, "pointerSize": pointer_size}} if entry.lfs else {}


@route("GET", REPO + "/refs")
def refs(call: Call) -> Reply:
    repo = call.repo()

    def shown(prefix: str, names: dict[str, str]) -> list[dict]:
        return [{"name": name, "ref": prefix + name, "targetCommit": sha} for name, sha in names.items()]

    heads, tags = shown("refs/heads/", repo.branches), shown("refs/tags/", repo.tags)
    return as_json({"branches": heads, "tags": tags, "converts": [], "pullRequests": []})


def _page(call: Call, items: list[dict]) -> Reply:
    start = int(call.query.get("cursor", ["0"])[0])
    stop = start + call.page_size
    rest = "&".join(f"{key}={value}" for key, values in call.query.items() for value in values if key != "cursor")
    link = {"Link": f'<{call.url}{call.path}?{rest}&cursor={stop}>; rel="next"'} if stop < len(items) else {}
    return as_json(items[start:stop], **link)


@route("GET", REPO + "/commits/(?P<revision>[^/]+)")
def commits(call: Call) -> Reply:
    return _page(call, [_shown_commit(one) for one in call.repo().history(call.parts["revision"])])


def _shown_commit(one: Commit) -> dict:
    authors = [{"user": one.author}]
    return {"id": one.sha, "title": one.title, "message": one.message, "authors": authors, "date": one.date}


@route("GET", REPO + "/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?")
def tree(call: Call) -> Reply:
    whole = call.repo().resolve(call.parts["revision"]).tree
    folder = (call.parts.get("folder") or "").strip("/")
    below = {path: entry for path, entry in whole.items() if not folder or path.startswith(folder + "/")}
    if folder and not below:
        raise Refused(404, f"{folder} does not exist", "EntryNotFound")
    listed = _with_folders(below, folder)
    if call.query.get("recursive", ["false"])[0].lower() != "true":
        depth = folder.count("/") + 2 if folder else 1
        listed = [item for item in listed if item["path"].count("/") < depth]
    return _page(call, listed)


def _with_folders(files: dict[str, Entry], folder: str) -> list[dict]:
    parents = {path.rsplit("/", up)[0] for path in files for up in range(1, path.count("/") + 1)} - {folder}
    folders = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(parents)]
    return folders + [_shown_file(path, entry) for path, entry in sorted(files.items())]


def _shown_file(path: str, entry: Entry) -> dict:
    return {"type": "file", "path": path, "oid": entry.oid, "size": entry.size, **_lfs_part(entry)}


@route("POST", REPO + "/paths-info/(?P<revision>[^/]+)")
def paths_info(call: Call) -> Reply:
    tree = call.repo().resolve(call.parts["revision"]).tree
    form = call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    asked = parse_qs(call.body.decode()).get("paths", []) if form else call.json()["paths"]
    every = {item["path"]: item for item in _with_folders(tree, "")}
    return as_json([every[path] for path in asked if path in every])


@route("(?:GET|HEAD)", FILES + "/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(call: Call) -> Reply:
    repo = call.repo()
    check_gate(repo, call.user)
    commit = repo.resolve(call.parts["revision"])
    entry = commit.tree.get(call.parts["path"])
    if entry is None:
        raise Refused(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit.sha})
    headers = {"ETag": f'"{entry.lfs or entry.oid}"', "X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
    if entry.lfs:
        headers |= {"X-Linked-Etag": f'"{entry.lfs}"', "X-Linked-Size": str(entry.size)}
    return _ranged(call, call.store.read(entry), headers)


def _ranged(call: Call, content: bytes, headers: dict[str, str]) -> Reply:
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("range", ""))
    if asked is None:
        return Reply(content, 200, headers)
    first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
    if first >= len(content):
        return Reply(b"", 416, headers | {"Content-Range": f"bytes */{len(content)}"})
    return Reply(content[first : last + 1], 206, headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"})
