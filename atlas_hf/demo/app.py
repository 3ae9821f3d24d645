"""The demo as a web application."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from transformers.utils import logging as transformers_logging

from atlas_hf.demo import DIGITS_MODEL_ID
from atlas_hf.demo.actions import Demo, told
from atlas_hf.demo.api import register
from atlas_hf.demo.events import connect
from atlas_hf.demo.page import Page
from atlas_hf.demo.places import Mistake, home

# Small pictures are drawn large with sharp edges.
HEAD = """<script>document.addEventListener("load", e => {
  if (e.target.tagName === "IMG" && e.target.naturalWidth <= 128) e.target.classList.add("small")
}, true)</script>"""
# The system's, so that nothing is fetched from anywhere.
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")


def build(demo: Demo) -> gr.Blocks:
    """The page and the API of a demo. Nothing is loaded yet."""
    with gr.Blocks(title="ATLAS", analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        connect(blocks, demo, Page(demo.home))
        register(demo)
    return blocks


def launch(
    model_id: str = DIGITS_MODEL_ID,
    revision: str | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    before: Callable[[], object] | None = None,
) -> None:
    """Serve a model until the process is stopped. The model is loaded while the page is on its way.

    Args:
        model_id, revision: a folder, a repository, or the model that comes with the package.
        host: by default that of GRADIO_SERVER_NAME, or 127.0.0.1.
        port: by default that of GRADIO_SERVER_PORT, or the first free one from 7860.
        before: called just before the port is taken.

    Raises:
        ValueError, HubError: see `atlas_hf.demo.places.home`.
        OSError: the port is taken.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    demo = Demo(home(model_id, revision))
    blocks = build(demo).queue(default_concurrency_limit=4, max_size=64)
    if before:
        before()
    theme = gr.themes.Base(primary_hue="blue", neutral_hue="slate", radius_size="sm", font=FONTS, font_mono=MONO)
    _, address, _ = blocks.launch(
        server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, share=False, ssr_mode=False,
        max_file_size="10mb", enable_monitoring=False, run_history=False, footer_links=["api"],
        theme=theme, css_paths=Path(__file__).with_name("style.css"), head=HEAD, pwa=False, mcp_server=False,
    )  # fmt: skip
    print(f"{model_id} at {address}", flush=True)
    threading.Thread(target=warm_up, args=(demo,), daemon=True).start()
    blocks.block_thread()


def warm_up(demo: Demo) -> None:
    """Load the model before somebody asks; what goes wrong then is said here, and again to whoever asks."""
    try:
        with told(demo.home.id):
            demo.models.get(demo.home)
    except Mistake as error:
        print(f"{demo.home.id} could not be loaded: {error}", flush=True)
