"""The HTTP side of the Hub test server: real sockets on the loopback, scripted faults, a log."""

import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from . import reading, writing  # noqa: F401 (they fill the table of endpoints)
from .endpoints import Call, Reply, answer, as_json
from .faults import Fault, Logged, Script
from .store import Store, User


class HubServer(Script):
    """A Hub on 127.0.0.1. `with HubServer() as hub:` starts it; `hub.url` is the endpoint.

    Knows the user `user` by the token `hf_write`, the same with read rights only by `hf_read`, and the stranger
    `other` by `hf_other`. `page_size` is how many commits or files a page of a listing holds.
    """

    def __init__(self, port: int = 0, page_size: int = 50):
        super().__init__()
        self.store = Store()
        self.page_size = page_size
        self.store.users |= {
            "hf_write": User("user"), "hf_read": User("user", write=False), "hf_other": User("other"),
        }  # fmt: skip
        self.http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.http.shutdown()
        self.http.server_close()

    def foreign_commit(self, repo_id: str, files: dict[str, bytes], kind: str = "model") -> None:
        """A commit by somebody else."""
        self.store.commit(self.store.repos[kind, repo_id], files, "a foreign commit", author="other")

    def serve(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """The reply to a request: reads the token, then asks the endpoint. A token nobody has is refused with 401."""
        parts = urlsplit(target)
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.store.users:
            wrong = "Invalid credentials in Authorization header"
            return as_json({"error": wrong}, 401, **{"X-Error-Message": wrong})
        query = parse_qs(parts.query, keep_blank_values=True)
        user = self.store.users.get(token)
        return answer(method, Call(self.store, user, {}, query, body, headers, self.url, parts.path, self.page_size))


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # one packet for headers and body: unbuffered writes cost 40 ms each on the loopback

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:  # the client died or hung up
                self.close_connection = True

        def do_GET(self) -> None:
            _Exchange(self, hub).run()

        do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *args) -> None:
            pass  # `hub.log` is the log

    return Handler


class _Exchange:
    """One request and its reply, with the fault that strikes it, if any."""

    def __init__(self, handler: BaseHTTPRequestHandler, hub: HubServer):
        self.handler, self.hub = handler, hub
        self.headers = {key.lower(): value for key, value in handler.headers.items()}
        self.fault = hub.strike(f"{handler.command} {handler.path}")
        self.kind = self.fault.kind if self.fault else ""

    def run(self) -> None:
        if self.kind == "cut":
            self._cut()
            return
        body = self._read_body()
        if self.kind == "delay":
            time.sleep(self.fault.seconds)
        if self.kind == "call" and not self.fault.late:
            self.fault.call()
        reply = _refusal(self.fault) if isinstance(self.kind, int) else self._serve(body)
        if self.kind == "call" and self.fault.late:
            self.fault.call()
        if self.kind == "flip" and reply.body:
            middle = len(reply.body) // 2
            reply.body = reply.body[:middle] + bytes([reply.body[middle] ^ 1]) + reply.body[middle + 1 :]
        self._log(reply.status, len(body), len(reply.body))
        if self.kind == "lost":
            self._hang_up()
        else:
            self._send(reply)

    def _serve(self, body: bytes) -> Reply:
        return self.hub.serve(self.handler.command, self.handler.path, self.headers, body)

    def _log(self, status: int, bytes_in: int, bytes_out: int) -> None:
        path = self.handler.path
        self.hub.log.append(Logged(self.handler.command, path, status, bytes_in, bytes_out, str(self.kind)))

    def _read_body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.handler.rfile.read(int(self.headers.get("content-length", 0)))
        chunks = []
        while size := int(self.handler.rfile.readline().split(b";")[0], 16):
            chunks.append(self.handler.rfile.read(size))
            self.handler.rfile.readline()
        self.handler.rfile.readline()
        return b"".join(chunks)

    def _cut(self) -> None:
        got = self.handler.rfile.read(int(self.headers.get("content-length", 0)) // 2)
        self._log(0, len(got), 0)
        self._hang_up()

    def _hang_up(self) -> None:
        """Closes with a reset, so that the client sees it at once."""
        self.handler.close_connection = True
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, reply: Reply) -> None:
        handler, body = self.handler, reply.body
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body[: len(body) // 2] if self.kind == "short" else body)
        handler.wfile.flush()
        if self.kind == "short":
            self.handler.close_connection = True


def _refusal(fault: Fault) -> Reply:
    """What a proxy in front of the Hub says: 5xx come as HTML."""
    wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if fault.kind >= 500:
        return Reply(b"<html>Bad gateway</html>", fault.kind, {"Content-Type": "text/html", **wait})
    message = {"error": "scripted fault"}
    return Reply(json.dumps(message).encode(), fault.kind, {"Content-Type": "application/json", **wait})
