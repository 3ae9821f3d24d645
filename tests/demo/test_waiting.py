"""The page that is shown while the demo starts."""

import shutil
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from atlas_hf.demo.waiting import READY, WaitingPage, free_port


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
