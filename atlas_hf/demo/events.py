"""What happens on the page. Each visitor has a state of his own: the model that is open, and the last answer."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from atlas_hf.demo import views
from atlas_hf.demo.actions import Demo, told
from atlas_hf.demo.api import for_people, uploaded
from atlas_hf.demo.comparison import comparison
from atlas_hf.demo.examples import Example, examples, fitting
from atlas_hf.demo.page import EMPTY, Page, card_text
from atlas_hf.demo.places import Mistake, Place
from atlas_hf.demo.questions import Answer, Question
from atlas_hf.report.card_source import CardTask

Updates = dict[Any, Any]


def connect(blocks: gr.Blocks, demo: Demo, page: Page) -> None:
    """Bind the events. They are the page's own; the API has functions of its own (`atlas_hf.demo.api`)."""
    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
    everything = [part for value in vars(page).values() for part in (value if isinstance(value, list) else [value])]
    do = Handlers(demo, page)
    first = {"fn": for_people(do.first), "inputs": [page.place, page.task], "outputs": everything, **hidden}
    read, changed = [page.place, page.answer_state, page.after], [page.side_by_side, *page.codes]
    comparing = {"fn": for_people(do.compare), "inputs": read, "outputs": changed, **hidden}
    blocks.load(for_people(do.describe), page.place, everything, **hidden).success(**first).success(**comparing)
    page.task.input(for_people(do.choose), [page.place, page.task, page.after], everything, **hidden)
    asking: dict[str, Any] = {"inputs": page.inputs, "outputs": everything, "preprocess": False} | hidden
    for asked in (page.ask.click, page.text.submit):
        asked(for_people(do.ask), **asking).success(**comparing)
    for name, button in zip(examples(), page.examples, strict=True):
        shown = button.click(for_people(partial(do.example, name)), [page.place, page.after], everything, **hidden)
        shown.success(**comparing)
    opening = [page.repository, page.revision, page.token]
    for opened in (page.open.click, page.repository.submit, page.revision.submit, page.token.submit):
        opened(for_people(do.open), opening, everything, **hidden).success(**first).success(**comparing)
    page.after.change(**comparing, trigger_mode="always_last")


class Handlers:
    """One method for each thing that a visitor does; it returns what changes on the page."""

    def __init__(self, demo: Demo, page: Page) -> None:
        self.demo, self.page = demo, page

    def describe(self, place: Place) -> Updates:
        """Everything about a model but an answer. The task shown is, with an example, one that reuses most."""
        page = self.page
        fit = fitting({task.name: task.spec for task in place.tasks})
        possible = [task for task in place.tasks if task.name in fit] or place.tasks
        task = max(possible, key=lambda one: len(one.record.experience))
        names = [(f"{one.position}  {one.name}", one.name) for one in place.tasks]
        stream, upstream = place.source.results.description.get("stream"), place.source.upstream
        compared = comparison(stream, [one.name for one in upstream])
        return {
            page.place: place,
            page.headline: views.headline(place),
            page.model: gr.update(label=views.model_name(place), open=False),
            page.task: gr.update(choices=names, value=task.name),
            page.matrix: views.matrix(place),
            page.over_time: views.over_time(place, compared),
            page.after: gr.update(maximum=max(2, len(names)), value=task.position, interactive=len(names) > 1),
            page.card_link: views.card_link(place),
            page.card: card_text(place),
            **{button: _button(fit.get(name)) for name, button in zip(examples(), page.examples, strict=True)},
            **self._about(place, task, task.position),
            **self._fields(task, fit.get(task.name)),
            **self._no_answer(),
        }

    def first(self, place: Place, name: str) -> Updates:
        """The example of the task that is shown, answered; loads the model."""
        example = fitting({name: place.task(name).spec}).get(name)
        return self._answer(place, example.question) if example else self._no_answer()

    def open(self, repository: str, revision: str, token: str) -> Updates:
        """Another model; the one that is open stays if that fails."""
        if not repository.strip():
            raise Mistake("Which repository? Write it as owner/name.")
        place = self.demo.open(repository, revision, token)
        with told(place.id):
            self.demo.models.get(place)
        return self.describe(place)

    def choose(self, place: Place, name: str, after: int) -> Updates:
        """Another task, with empty inputs."""
        task = place.task(name)
        return {**self._about(place, task, after), **self._fields(task, None), **self._no_answer()}

    def example(self, name: str, place: Place, after: int) -> Updates:
        """The task of an example, its inputs and its answer."""
        task, example = place.task(name), examples()[name]
        return {
            self.page.task: name,
            **self._about(place, task, after),
            **self._fields(task, example),
            **self._answer(place, example.question),
        }

    def ask(self, place: Place, name: str, *given: Any) -> Updates:
        """The answer to what the visitor gave."""
        *images, text, choices = given
        spec = place.task(name).spec
        paths = [uploaded(image) for image in images[: len(spec.image_columns)]]
        question = Question(name, tuple(path for path in paths if path), text or "", choices or "")
        return self._answer(place, question)

    def compare(self, place: Place, answer: Answer | None, after: int) -> Sequence[Any]:
        """The same input as of task `after`, and the code that loads that state."""
        task = place.task(answer.question.task) if answer else place.tasks[-1]
        codes = _codes(place, task, after)
        if answer is None:
            return [EMPTY, *codes]
        then = self.demo.ask_then(place, answer.question, after)
        return [views.side_by_side(place, after, then, answer), *codes]

    def _about(self, place: Place, task: CardTask, after: int) -> Updates:
        page = self.page
        return {
            page.about: views.about_task(task),
            page.test_set_map: views.test_set_map(task),
            page.graph: views.graph(place, task.name),
            **dict(zip(page.codes, _codes(place, task, after), strict=True)),
        }

    def _fields(self, task: CardTask, example: Example | None) -> Updates:
        """The inputs that the task takes, filled with an example or empty."""
        page, spec = self.page, task.spec
        given = example.question if example else Question(task.name)
        shown: Updates = {}
        for number, part in enumerate(page.images):
            label, value = spec.image_columns[number : number + 1], given.images[number : number + 1]
            shown[part] = gr.update(visible=bool(label), label=(*label, None)[0], value=(*value, None)[0])
        lines = len(spec.text_columns)
        name = f"{' / '.join(spec.text_columns)}{' (a line for each)' if lines > 1 else ''}"
        shown[page.text] = gr.update(visible=lines > 0, label=name, lines=max(1, lines), value=given.text)
        shown[page.choices] = gr.update(
            visible=bool(spec.choices_column),
            label=f"{spec.choices_column} ({spec.num_choices}, one per line)",
            lines=spec.num_choices or 1,
            value=given.choices,
        )
        return shown

    def _answer(self, place: Place, question: Question) -> Updates:
        page, task = self.page, place.task(question.task)
        answer = self.demo.ask(place, question)
        known = [example.expected for example in examples().values() if example.question == question]
        return {
            page.answer_state: answer,
            page.answer: views.answer(answer, *known),
            page.leaned_on: views.asked(question) + views.leaned_on(task, answer.coefficients),
            page.site_map: views.site_map(task, answer.coefficients, "This input: coefficient of each adapter"),
        }

    def _no_answer(self) -> Updates:
        page = self.page
        cleared = [page.answer, page.leaned_on, page.side_by_side]
        return {page.answer_state: None, page.site_map: "", **dict.fromkeys(cleared, EMPTY)}


def _codes(place: Place, task: CardTask, after: int) -> list[dict[str, Any]]:
    return [gr.update(value=code, label=title) for title, code in views.code(place, task, after).items()]


def _button(example: Example | None) -> dict[str, Any]:
    if example is None:
        return gr.update(visible=False)
    question = example.question
    return gr.update(visible=True, value=f"{question.task}: {question.text}" if question.text else question.task)
