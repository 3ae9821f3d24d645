"""While the demo is getting ready (gradio and torch take seconds to import), its address already shows a page, which
turns into the demo by itself. Imports the standard library only.
"""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORTS = range(7860, 7960)
READY = "X-Atlas-Waiting"
PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>ATLAS is starting</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<style>body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-content: center; min-height: 90vh }}</style>
<main role="status"><h1>ATLAS</h1><p>The demo is starting. This page turns into it in a moment.</p></main>
<script>setInterval(() => fetch(location, {{cache: "no-store"}}).then(
  reply => reply.ok && !reply.headers.has("{READY}") && location.reload(), () => 0), 700)</script></html>""".encode()


class WaitingPage:
    """A page at the demo's address until the demo takes it over."""

    def __init__(self, host: str | None, port: int | None) -> None:
        self.host, self.port = host or "127.0.0.1", port or free_port()
        self._server = ThreadingHTTPServer((self.host, self.port), _Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        print(f"The demo is starting at http://{self.host}:{self.port}/", flush=True)

    def close(self) -> None:
        """Leave the address to the demo."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in (("Content-Type", "text/html"), ("Cache-Control", "no-store"), (READY, "1")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *args: object) -> None:
        """Nothing is logged."""


def free_port() -> int:
    """The first of `PORTS` that nobody listens on."""
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError(f"The ports {PORTS.start} to {PORTS.stop - 1} are all taken; choose one with --port.")
