"""The page: what stands where. What happens on it is in `events`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from atlas_hf.demo.examples import examples
from atlas_hf.demo.places import Place
from atlas_hf.demo.snippets import CLIENT
from atlas_hf.folder import CARD

EMPTY = '<p class="muted">Ask a question, or click an example.</p>'
CODES = 3


@dataclass
class Page:
    """Every component that an event reads or writes."""

    place: gr.State
    answer_state: gr.State
    headline: gr.HTML
    model: gr.Accordion
    repository: gr.Textbox
    revision: gr.Textbox
    token: gr.Textbox
    open: gr.Button
    task: gr.Radio
    about: gr.HTML
    images: list[gr.Image]
    text: gr.Textbox
    choices: gr.Textbox
    ask: gr.Button
    answer: gr.HTML
    examples: list[gr.Button]
    leaned_on: gr.HTML
    site_map: gr.HTML
    test_set_map: gr.HTML
    graph: gr.HTML
    matrix: gr.HTML
    over_time: gr.HTML
    after: gr.Slider
    side_by_side: gr.HTML
    codes: list[gr.Code]
    card_link: gr.HTML
    card: gr.Markdown

    @property
    def inputs(self) -> list[gr.components.Component]:
        """Of a question."""
        return [self.place, self.task, *self.images, self.text, self.choices]


def lay_out(place: Place) -> Page:
    """All components of the page, inside of a Blocks."""
    parts: dict[str, Any] = {"place": gr.State(place), "answer_state": gr.State(None)}
    parts["headline"] = gr.HTML()
    with gr.Accordion("Model", open=False, elem_id="model") as parts["model"]:
        parts |= _opening()
    parts["task"] = gr.Radio(label="Task, in the order of learning", elem_id="task")
    parts["about"] = gr.HTML(elem_id="about")
    with gr.Tabs():
        with gr.Tab("Try"):
            parts |= _try()
        with gr.Tab("Reuse"):
            parts |= _reuse()
        with gr.Tab("Never forgets"):
            parts |= _never_forgets()
        with gr.Tab("Use it"):
            parts |= _use_it()
    return Page(**parts)


def _opening() -> dict[str, Any]:
    with gr.Row():
        repository = gr.Textbox(label="Repository", placeholder="owner/name", elem_id="repository", scale=3)
        revision = gr.Textbox(label="Revision", placeholder="main, or task-02-vqa", elem_id="revision", scale=2)
        token = gr.Textbox(
            label="Token", placeholder="only if it is private", type="password", elem_id="token", scale=2
        )
    return {"repository": repository, "revision": revision, "token": token, "open": gr.Button("Open", elem_id="open")}


def _try() -> dict[str, Any]:
    with gr.Row(equal_height=False):
        with gr.Column(scale=6):
            with gr.Row():
                images = [_image(number) for number in (1, 2)]
            text = gr.Textbox(elem_id="text")
            choices = gr.Textbox(elem_id="choices")
            ask = gr.Button("Ask", variant="primary", elem_id="ask")
        with gr.Column(scale=5):
            answer = gr.HTML(EMPTY, elem_id="answer")
    gr.HTML("<h2>Examples, one per task</h2>")
    with gr.Row(elem_id="examples"):
        buttons = [
            gr.Button(visible=False, size="sm", elem_classes="example", icon=(one.question.images or (None,))[0])
            for one in examples().values()
        ]
    return {"images": images, "text": text, "choices": choices, "ask": ask, "answer": answer, "examples": buttons}


def _image(number: int) -> gr.Image:
    return gr.Image(
        elem_id=f"image-{number}",
        sources=["upload", "clipboard"],
        height=220,
        buttons=[],
        alt_text=f"Image {number} of the question",
        image_mode=None,
        type="filepath",
        min_width=140,
    )


def _reuse() -> dict[str, Any]:
    leaned_on = gr.HTML(EMPTY, elem_id="leaned-on")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            site_map = gr.HTML(elem_id="site-map")
        with gr.Column(scale=5, min_width=300):
            test_set_map = gr.HTML(elem_id="test-set-map")
        with gr.Column(scale=4, min_width=260):
            graph = gr.HTML(elem_id="graph")
    return {"leaned_on": leaned_on, "site_map": site_map, "test_set_map": test_set_map, "graph": graph}


def _never_forgets() -> dict[str, Any]:
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            matrix = gr.HTML(elem_id="matrix")
        with gr.Column(min_width=300):
            over_time = gr.HTML(elem_id="over-time")
    after = gr.Slider(
        1, 2, step=1, label="As of task", info="That state is loaded, and answers your input again.", elem_id="after"
    )
    side_by_side = gr.HTML(EMPTY, elem_id="side-by-side")
    return {"matrix": matrix, "over_time": over_time, "after": after, "side_by_side": side_by_side}


def _use_it() -> dict[str, Any]:
    codes = [
        gr.Code(language="python", interactive=False, show_line_numbers=False, wrap_lines=True) for _ in range(CODES)
    ]
    gr.Code(
        CLIENT,
        label="This demo as an API",
        language="python",
        interactive=False,
        show_line_numbers=False,
        wrap_lines=True,
    )
    card_link = gr.HTML(elem_id="card-link")
    with gr.Accordion("Model card", open=False):
        card = gr.Markdown(elem_id="card")
    return {"codes": codes, "card_link": card_link, "card": card}


def card_text(place: Place) -> str:
    """The card without its metadata and pictures; empty for a repository, whose card is a link away."""
    path: Path = place.folder / CARD
    if place.commit or not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8").split("\n---\n", 1)[-1]
    return "\n".join(line for line in text.splitlines() if not line.startswith("!["))
