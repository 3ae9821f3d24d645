"""A request, a reply, and the table of endpoints: each endpoint is a short function from a `Call` to a `Reply`."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from .store import Refused, Repo, Store, User

REPO = r"/api/(?P<kind>model|dataset|space)s/(?P<repo>[^/]+/[^/]+)"
FILES = r"/(?:(?P<kind>dataset|space)s/)?(?P<repo>[^/]+/[^/]+)"


@dataclass
class Call:
    """A request: who asks, the named parts of the path (unquoted), the query, the body, where the server lives."""

    store: Store
    user: User | None
    parts: dict[str, str]
    query: dict[str, list[str]]
    body: bytes
    headers: dict[str, str]
    url: str
    path: str
    page_size: int

    def repo(self, write: bool = False) -> Repo:
        return self.store.find(self.parts.get("kind") or "model", self.parts["repo"], self.user, write)

    def json(self) -> dict:
        return json.loads(self.body or b"{}")


@dataclass
class Reply:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def as_json(value: object, status: int = 200, **headers: str) -> Reply:
    return Reply(json.dumps(value).encode(), status, {"Content-Type": "application/json", **headers})


ROUTES: list[tuple[str, re.Pattern, Callable[[Call], Reply]]] = []


def route(method: str, pattern: str):
    def register(function: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
        ROUTES.append((method, re.compile(pattern + r"/?$"), function))
        return function

    return register


def check_gate(repo: Repo, user: User | None) -> None:
    if repo.gated and not (user is not None and user.may_write(repo.id)):
        raise Refused(403, f"Access to model {repo.id} is restricted", "GatedRepo")


def answer(method: str, call: Call) -> Reply:
    """Finds the endpoint and asks it. A refusal becomes the Hub's error reply."""
    try:
        for methods, pattern, function in ROUTES:
            if re.fullmatch(methods, method) and (found := pattern.match(call.path)):
                call.parts = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
                return function(call)
        raise Refused(404, f"no such endpoint: {method} {call.path}")
    except Refused as refused:
        code = {"X-Error-Code": refused.code} if refused.code else {}
        headers = {"X-Error-Message": refused.message, **code, **refused.headers}
        return as_json({"error": refused.message}, refused.status, **headers)
