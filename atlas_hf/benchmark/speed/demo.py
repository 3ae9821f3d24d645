"""How soon the demo shows a page, and how soon it answers. `python -m atlas_hf.benchmark.speed.demo`; needs gradio.

First the times after the command, then predictions of every example: what the model takes (as the page shows it), and
what a caller of the API waits for, upload and queue included.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from statistics import median
from typing import Any

from gradio_client import Client, handle_file

from atlas_hf.demo.examples import Example, examples
from atlas_hf.demo.waiting import READY, free_port
from atlas_hf.report.text import table


def main() -> None:
    """Measure, and print."""
    port = free_port()
    began = time.perf_counter()
    command = [sys.executable, "-m", "atlas_hf.cli", "demo", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def wait(what: str, done: Callable[[], Any]) -> None:
        while not done():
            if process.poll() is not None or time.perf_counter() - began > 300:
                raise RuntimeError("The demo did not start; run atlas-hf demo to see why.")
            time.sleep(0.02)
        print(f"{what:<34}{time.perf_counter() - began:6.2f} s", flush=True)

    try:
        url = f"http://127.0.0.1:{port}/"
        wait("first page (the demo is starting)", lambda: _header(url) is not False)
        wait("the demo’s own page", lambda: _header(url) is None)
        client = Client(url, verbose=False)
        wait("first answer, by the API", lambda: _ask(client, next(iter(examples().items()))))
        print()
        rows = [_timed(client, example) for example in examples().items()]
        print(table(["task", "model, median ms", "model, slowest", "API, median ms"], rows))
        print(f"\n{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}")
    finally:
        process.kill()
        process.wait()


def _header(url: str) -> str | bool | None:
    """What the reply says of itself; None from the demo; False if there is no reply."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.headers.get(READY)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _ask(client: Client, example: tuple[str, Example]) -> dict[str, Any]:
    name, question = example[0], example[1].question
    names = ("image", "second_image")[: len(question.images)]
    files = {name: handle_file(path) for name, path in zip(names, question.images, strict=True)}
    choices = question.choices.splitlines()
    return client.predict(name, **files, text=question.text, choices=choices, api_name="/predict")


def _timed(client: Client, example: tuple[str, Example]) -> list[str]:
    inside, outside = [], []
    for _ in range(5):
        began = time.perf_counter()
        inside.append(_ask(client, example)["seconds"])
        outside.append(time.perf_counter() - began)
    return [example[0], *(f"{1000 * value:.0f}" for value in (median(inside), max(inside), median(outside)))]


if __name__ == "__main__":
    main()
