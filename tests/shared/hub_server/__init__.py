"""A Hub for tests: loopback, real HTTP, for the unmodified `huggingface_hub` client. Faults on demand, a request log.

`python -m shared.hub_server --port 0` runs it as a process of its own.
"""

from .client import client_env, isolated_client, loopback_hub
from .faults import Fault, Logged
from .server import HubServer
from .store import Refused, User, git_id

__all__ = [
    "Fault",
    "HubServer",
    "Logged",
    "Refused",
    "User",
    "client_env",
    "git_id",
    "isolated_client",
    "loopback_hub",
]
