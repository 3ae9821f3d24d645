"""`atlas-hf demo` as a command: the page shown while it starts, and what it is started with."""

import shutil
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import atlas_hf_command
from atlas_hf.cli import demo_command as command
from atlas_hf.cli.commands import main
from atlas_hf_command import READY, WaitingPage, free_port


@pytest.fixture
def page():
    shown = WaitingPage(None, None)
    yield shown
    shown.close()


def test_a_page_is_there_at_once(page):
    with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/") as reply:
        assert reply.headers[READY] and "The demo is starting" in reply.read().decode()
    assert free_port() != page.port
    with pytest.raises(OSError, match="in use"):
        WaitingPage(None, page.port)


def test_the_demo_takes_over_the_address_of_the_page(monkeypatch, capsys):
    """As the installed command runs it; only `launch` is not the real one."""
    started = []
    monkeypatch.setattr(sys, "argv", ["atlas-hf", "demo", "runs/digits", "--port", str(free_port())])
    monkeypatch.setattr(command, "launch", lambda *model, **where: started.append((model, where)))
    monkeypatch.setattr(atlas_hf_command, "_waiting", [])
    assert atlas_hf_command.main() == 0
    ((model, where),) = started
    assert f"The demo is starting at http://127.0.0.1:{where['port']}/" in capsys.readouterr().out
    assert model == ("runs/digits", None) and where["host"] == "127.0.0.1"
    urllib.request.urlopen(f"http://127.0.0.1:{where['port']}/").close()
    where["before"]()
    with ThreadingHTTPServer(("127.0.0.1", where["port"]), BaseHTTPRequestHandler):
        pass


def test_a_port_that_is_taken_is_told_at_once(page, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["atlas-hf", "demo", "--port", str(page.port)])
    assert atlas_hf_command.main() == 2
    assert "atlas-hf demo: " in capsys.readouterr().err


def test_started_in_another_way_there_is_no_page(monkeypatch):
    started = []
    monkeypatch.setattr(command, "launch", lambda *model, **where: started.append(where))
    assert main(["demo", "--host", "0.0.0.0", "--port", "7999"]) == 0
    assert started == [{"host": "0.0.0.0", "port": 7999}]


class Ready(BaseHTTPRequestHandler):
    """What comes after the waiting page."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>ready</h1>")

    def log_message(self, *args):
        pass


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium: apt-get install chromium")
def test_in_a_browser_the_page_turns_into_the_demo(page):
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(f"http://127.0.0.1:{page.port}/")
        playwright.expect(tab.get_by_role("status")).to_contain_text("The demo is starting.", timeout=30_000)
        page.close()
        with ThreadingHTTPServer(("127.0.0.1", page.port), Ready) as after:
            threading.Thread(target=after.serve_forever, daemon=True).start()
            playwright.expect(tab.get_by_role("heading", name="ready")).to_be_visible(timeout=30_000)
            browser.close()
            after.shutdown()
