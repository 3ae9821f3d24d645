"""The endpoints that check rights and change repositories."""

import base64
import hashlib
import json

from .card_check import check_card
from .endpoints import FILES, REPO, Call, Reply, as_json, check_gate, route
from .store import Entry, Refused


@route("GET", "/api/whoami-v2")
def whoami(call: Call) -> Reply:
    if call.user is None:
        raise Refused(401, "Invalid username or password.")
    role = "write" if call.user.write else "read"
    orgs = [{"name": name, "type": "org"} for name in call.user.organizations]
    auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
    return as_json({"type": "user", "name": call.user.name, "fullname": call.user.name, "orgs": orgs, "auth": auth})


@route("POST", "/api/validate-yaml")
def validate_yaml(call: Call) -> Reply:
    errors, warnings = check_card(call.json()["content"])
    shaped = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return as_json(shaped, status=400 if errors else 200)


def _named_repo(call: Call) -> tuple[str, str, dict]:
    data = call.json()
    if call.user is None:
        raise Refused(401, "Invalid username or password.")
    repo_id = f"{data.get('organization') or call.user.name}/{data['name']}"
    if not call.user.may_write(repo_id):
        raise Refused(403, f"You don't have the rights to create a model under the namespace of {repo_id}")
    return data.get("type") or "model", repo_id, data


@route("POST", "/api/repos/create")
def create_repo(call: Call) -> Reply:
    kind, repo_id, data = _named_repo(call)
    url = f"{call.url}/{'' if kind == 'model' else kind + 's/'}{repo_id}"
    try:
        call.store.create(kind, repo_id, private=data.get("visibility") == "private", sdk=data.get("sdk"))
    except Refused as refused:
        return as_json({"error": refused.message, "url": url}, status=refused.status)
    return as_json({"url": url, "name": repo_id})


@route("DELETE", "/api/repos/delete")
def delete_repo(call: Call) -> Reply:
    kind, repo_id, _ = _named_repo(call)
    call.store.find(kind, repo_id, call.user, write=True)
    del call.store.repos[kind, repo_id]
    return as_json({})


@route("GET", REPO + "/auth-check(?P<write>/write)?")
def auth_check(call: Call) -> Reply:
    repo = call.repo(write=bool(call.parts.get("write")))
    check_gate(repo, call.user)
    return as_json({})


@route("POST", REPO + "/preupload/(?P<revision>[^/]+)")
def preupload(call: Call) -> Reply:
    tree = call.repo(write=True).resolve(call.parts["revision"]).tree
    files = [_upload_mode(asked, tree.get(asked["path"])) for asked in call.json()["files"]]
    return as_json({"files": files})


def _upload_mode(asked: dict, known: Entry | None) -> dict:
    """LFS for weights over 10 KB (small enough for fast tests), for tables, and for whatever git would not hold."""
    large = (asked["size"] > 10_000 and asked["path"].endswith(".safetensors")) or asked["path"].endswith(".parquet")
    mode = "lfs" if large or asked["size"] > 10_000_000 else "regular"
    oid = {"oid": known.lfs or known.oid} if known else {}
    return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, **oid}


@route("POST", FILES + r"\.git/info/lfs/objects/batch")
def lfs_batch(call: Call) -> Reply:
    call.repo(write=True)
    objects = []
    for asked in call.json()["objects"]:
        shown = {"oid": asked["oid"], "size": asked["size"]}
        if asked["oid"] not in call.store.lfs:
            upload = {"href": f"{call.url}/lfs/{asked['oid']}"}
            shown["actions"] = {"upload": upload, "verify": {"href": f"{call.url}/lfs/{asked['oid']}/verify"}}
        objects.append(shown)
    return as_json({"transfer": "basic", "objects": objects})


@route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
def lfs_upload(call: Call) -> Reply:
    if hashlib.sha256(call.body).hexdigest() != call.parts["oid"]:
        raise Refused(400, "the content does not have the promised sha256")
    call.store.add_lfs(call.parts["oid"], call.body)
    return Reply()


@route("POST", "/lfs/(?P<oid>[0-9a-f]{64})/verify")
def lfs_verify(call: Call) -> Reply:
    if len(call.store.lfs.get(call.parts["oid"], b"")) != call.json()["size"]:
        raise Refused(404, "object not found")
    return as_json({})


@route("POST", REPO + "/commit/(?P<revision>[^/]+)")
def commit(call: Call) -> Reply:
    repo = call.repo(write=True)
    lines = [json.loads(line) for line in call.body.splitlines() if line.strip()]
    header = lines[0]["value"]
    files = dict(_change(line["key"], line["value"]) for line in lines[1:])
    made = call.store.commit(
        repo, files, header["summary"], header.get("description", ""),
        branch=call.parts["revision"], parent=header.get("parentCommit"), author=call.user.name,
    )  # fmt: skip
    url = f"{call.url}/{'' if repo.kind == 'model' else repo.kind + 's/'}{repo.id}/commit/{made.sha}"
    return as_json({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})


def _change(key: str, value: dict) -> tuple[str, bytes | str | None]:
    if key == "file":
        return value["path"], base64.b64decode(value["content"])
    if key == "lfsFile":
        return value["path"], value["oid"]
    if key == "deletedFile":
        return value["path"], None
    if key == "deletedFolder":
        return value["path"].rstrip("/") + "/", None
    raise Refused(400, f"unknown operation {key}")


@route("POST", REPO + "/tag/(?P<revision>[^/]+)")
def create_tag(call: Call) -> Reply:
    repo = call.repo(write=True)
    call.store.point(repo.tags, call.json()["tag"], repo.resolve(call.parts["revision"]).sha)
    return as_json({})


@route("POST", REPO + "/branch/(?P<name>[^/]+)")
def create_branch(call: Call) -> Reply:
    repo = call.repo(write=True)
    call.store.point(repo.branches, call.parts["name"], repo.resolve(call.json().get("startingPoint", "main")).sha)
    return as_json({})


@route("DELETE", REPO + "/(?P<sort>tag|branch)/(?P<name>[^/]+)")
def delete_ref(call: Call) -> Reply:
    repo = call.repo(write=True)
    names = repo.tags if call.parts["sort"] == "tag" else repo.branches
    if names.pop(call.parts["name"], None) is None:
        raise Refused(404, f"Invalid rev id: {call.parts['name']}", "RevisionNotFound")
    return as_json({})
