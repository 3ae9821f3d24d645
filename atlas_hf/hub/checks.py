"""What can be asked of the Hub at all: names, revisions and tokens of the right form, before any request is sent."""

import re
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

# What git allows in the name of a branch or tag (git help check-ref-format), and so in a commit's sha.
_REVISION = re.compile(r"(?!.*(\.\.|//|@\{))[^\x00-\x20\x7f~^:?*\[\\/.-][^\x00-\x20\x7f~^:?*\[\\]*(?<![/.])")
_TOKEN = re.compile(r"[!-~]+")


def is_repository(name: str) -> bool:
    """Could this be the id of a repository on the Hub? It need not be there."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def check_is_there(place: str) -> None:
    """Raise a `ValueError` for a path of which the parent is here and the rest is not: no question for the Hub."""
    path = Path(place)
    if "/" in place and not path.exists() and path.parent.is_dir():
        inside = sorted(found.name for found in path.parent.iterdir())[:5]
        raise ValueError(f"There is no {place!r}; in {str(path.parent)!r} there are {inside}. Give one that is there.")


def check_request(repo_id: str, revision: str | None = None, token: str | bool | None = None) -> None:
    """Raises a `ValueError` for what no repository, revision or token can be."""
    validate_repo_id(repo_id)
    if revision is not None and not _REVISION.fullmatch(revision):
        raise ValueError(
            f"The revision {revision!r} is empty or has a character that cannot be in one. Give a branch, a tag such "
            "as task-01-<name>, or a commit sha; or leave it out."
        )
    check_token(token)


def check_token(token: str | bool | None) -> None:
    """Raises a `ValueError`, which does not show it, for what no token can be."""
    if isinstance(token, str) and not _TOKEN.fullmatch(token):
        raise ValueError(
            "The token is empty or has a character that cannot be in one, such as a space or a line break. Copy it "
            "again, or leave it out to use the one of `hf auth login`."
        )
