"""Which repository, and whether we may write to it: asked before hours of training, not after them."""

from __future__ import annotations

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from atlas_hf.hub.retry import Retry, until_done


def ensure_writable_repo(
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    retry: Retry = Retry(),  # noqa: B008 (frozen)
    repo_type: str | None = None,
    space_sdk: str | None = None,
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
            api.auth_check(full, repo_type=repo_type, write=True)
        except RepositoryNotFoundError:
            api.create_repo(full, private=private, repo_type=repo_type, space_sdk=space_sdk, exist_ok=True)
            api.auth_check(full, repo_type=repo_type, write=True)
        return full

    return until_done(step, f"get write access to {repo_id}", retry)
