"""The page: what stands where. What happens on it is in `events`."""

from typing import Any

import gradio as gr

from atlas_hf.demo.examples import examples
from atlas_hf.demo.places import Place
from atlas_hf.folder import CARD

EMPTY = '<p class="muted">Ask a question, or click an example.</p>'
CLIENT = """from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")  # or the name of the Space
client.view_api()  # what can be called, described
print(client.predict(api_name="/tasks"))
print(client.predict("vqa", handle_file("image.png"), text="what digit is red ?", api_name="/predict"))"""
PYTHON: dict[str, Any] = {"language": "python", "interactive": False, "show_line_numbers": False, "wrap_lines": True}


class Page:
    """All components of the page, made inside of a Blocks: each attribute is read or written by an event."""

    def __init__(self, place: Place) -> None:
        self.place, self.answer_state = gr.State(place), gr.State(None)
        self.headline = gr.HTML()
        with gr.Accordion("Model", open=False, elem_id="model") as self.model:
            self._opening()
        self.task = gr.Radio(label="Task, in the order of learning", elem_id="task")
        self.about = gr.HTML(elem_id="about")
        with gr.Tabs():
            with gr.Tab("Try"):
                self._try()
            with gr.Tab("Reuse"):
                self._reuse()
            with gr.Tab("Never forgets"):
                self._never_forgets()
            with gr.Tab("Use it"):
                self._use_it()

    @property
    def inputs(self) -> list[gr.components.Component]:
        """Of a question."""
        return [self.place, self.task, *self.images, self.text, self.choices]

    def _opening(self) -> None:
        with gr.Row():
            self.repository = gr.Textbox(label="Repository", placeholder="owner/name", elem_id="repository", scale=3)
            self.revision = gr.Textbox(
                label="Revision", placeholder="main, or task-02-vqa", elem_id="revision", scale=2
            )
            self.token = gr.Textbox(
                label="Token", placeholder="only if it is private", type="password", elem_id="token", scale=2
            )
        self.open = gr.Button("Open", elem_id="open")

    def _try(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=6):
                with gr.Row():
                    self.images = [_image(number) for number in (1, 2)]
                self.text = gr.Textbox(elem_id="text")
                self.choices = gr.Textbox(elem_id="choices")
                self.ask = gr.Button("Ask", variant="primary", elem_id="ask")
            with gr.Column(scale=5):
                self.answer = gr.HTML(EMPTY, elem_id="answer")
        gr.HTML("<h2>Examples, one per task</h2>")
        with gr.Row(elem_id="examples"):
            self.examples = [
                gr.Button(visible=False, size="sm", elem_classes="example", icon=(one.question.images or (None,))[0])
                for one in examples().values()
            ]

    def _reuse(self) -> None:
        self.leaned_on = gr.HTML(EMPTY, elem_id="leaned-on")
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300):
                self.site_map = gr.HTML(elem_id="site-map")
            with gr.Column(scale=5, min_width=300):
                self.test_set_map = gr.HTML(elem_id="test-set-map")
            with gr.Column(scale=4, min_width=260):
                self.graph = gr.HTML(elem_id="graph")

    def _never_forgets(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                self.matrix = gr.HTML(elem_id="matrix")
            with gr.Column(min_width=300):
                self.over_time = gr.HTML(elem_id="over-time")
        info = "That state is loaded, and answers your input again."
        self.after = gr.Slider(1, 2, step=1, label="As of task", info=info, elem_id="after")
        self.side_by_side = gr.HTML(EMPTY, elem_id="side-by-side")

    def _use_it(self) -> None:
        self.codes = [gr.Code(**PYTHON) for _ in range(3)]
        gr.Code(CLIENT, label="This demo as an API", **PYTHON)
        self.card_link = gr.HTML(elem_id="card-link")
        with gr.Accordion("Model card", open=False):
            self.card = gr.Markdown(elem_id="card")


def _image(number: int) -> gr.Image:
    return gr.Image(
        elem_id=f"image-{number}", alt_text=f"Image {number} of the question", sources=["upload", "clipboard"],
        type="filepath", image_mode=None, buttons=[], height=220, min_width=140,
    )  # fmt: skip


def card_text(place: Place) -> str:
    """The card without its metadata and pictures; empty for a repository, whose card is a link away."""
    path = place.folder / CARD
    if place.commit or not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8").split("\n---\n", 1)[-1]
    return "\n".join(line for line in text.splitlines() if not line.startswith("!["))
