"""`atlas-hf demo` as a command: what the demo is started with, and the page before it."""

import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from atlas_hf import demo
from atlas_hf.cli import main
from atlas_hf.demo.waiting import WaitingPage, free_port


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
def test_the_demo_takes_over_the_address_of_the_page(host, monkeypatch, capsys):
    """Only `launch` is not the real one."""
    port, started = free_port(), []

    def launch(*model, before, **where):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/").close()
        before()
        with ThreadingHTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler):
            started.append((model, where))

    monkeypatch.setattr(demo, "launch", launch)
    assert main(["demo", "runs/digits", "--port", str(port), *(["--host", host] if host else [])]) == 0
    assert started == [(("runs/digits", None), {"host": "127.0.0.1", "port": port})]
    assert f"The demo is starting at http://127.0.0.1:{port}/" in capsys.readouterr().out


def test_without_a_port_it_is_the_first_free_one(monkeypatch):
    started = []
    monkeypatch.setattr(demo, "launch", lambda *model, before, **where: started.append(where["port"]))
    free = free_port()
    assert main(["demo"]) == 0 and started == [free] and free_port() == free, "the page has gone with the command"


def test_a_port_that_is_taken_is_told_at_once(capsys):
    page = WaitingPage(None, None)
    assert main(["demo", "--port", str(page.port)]) == 2
    page.close()
    assert "atlas-hf demo: " in capsys.readouterr().err
