"""Faults on demand: which request goes wrong, how, and how often. The log of what was asked."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

KINDS = ("status", "cut", "lost", "call", "short", "flip", "delay")


@dataclass
class Logged:
    """One request: bytes of its body, bytes of the reply's body, and the fault that struck it (empty: none)."""

    method: str
    path: str
    status: int
    bytes_in: int
    bytes_out: int
    fault: str = ""


@dataclass
class Fault:
    """What happens to the next `times` requests whose "METHOD path" matches `match`, after `skip` that pass.

    Kinds: an HTTP status such as 503 (with `retry_after` seconds; nothing is done); "cut" (the connection is closed
    in the middle of the request's body; nothing is done); "lost" (all is done, then the connection is closed without
    a reply); "call" (`call()` runs before the request is served: a foreign commit, a signal to the client ...;
    `late=True`: it runs when all is done, before the reply); "short" (half of the reply's body); "flip" (one byte of
    it changed); "delay" (`seconds` pass first).
    """

    match: str
    kind: str | int
    times: int = 1
    skip: int = 0
    retry_after: int | str | None = None
    seconds: float = 0.0
    call: Callable[[], object] | None = None
    late: bool = False
    struck: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.kind, int) and self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}: give an HTTP status or one of {', '.join(KINDS)}")

    def take(self, request: str) -> bool:
        """True if this fault strikes the request; counts it."""
        if not re.search(self.match, request):
            return False
        with self.lock:
            if self.skip > 0:
                self.skip -= 1
                return False
            if self.struck == self.times:
                return False
            self.struck += 1
            return True


class Script:
    """The faults that are still to come, and the requests that came."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.log: list[Logged] = []
        self.sleeps: list[float] = []

    def fault(self, match: str, kind: str | int, **options) -> Fault:
        """Adds a `Fault`; the first that matches strikes. Returns it, to see how often it `struck`."""
        self.faults.append(Fault(match, kind, **options))
        return self.faults[-1]

    def strike(self, request: str) -> Fault | None:
        return next((fault for fault in self.faults if fault.take(request)), None)

    def requests(self, match: str = "") -> list[Logged]:
        return [entry for entry in self.log if re.search(match, f"{entry.method} {entry.path}")]

    def bytes_in(self, match: str = "") -> int:
        return sum(entry.bytes_in for entry in self.requests(match))

    def clear(self) -> None:
        """Forgets the log and the faults, not what is stored."""
        self.faults.clear()
        self.log.clear()
        self.sleeps.clear()
