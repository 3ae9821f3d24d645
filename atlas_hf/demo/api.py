"""The demo's functions as named endpoints, for `gradio_client` and any HTTP client. Each call stands for itself."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from html import escape
from inspect import getdoc
from typing import Any

import gradio as gr

from atlas_hf.demo.actions import Demo
from atlas_hf.demo.places import Mistake, Place
from atlas_hf.demo.questions import Question


def for_people(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a visitor did wrong becomes a message on the page, or the client's error; anything else is our mistake."""

    @wraps(function)
    def spoken(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Mistake as error:
            raise gr.Error(escape(str(error), quote=False), title="This did not work", print_exception=False) from None

    return spoken


def uploaded(image: Any) -> str | None:
    """The path of an uploaded file. Only gradio's own records are taken: it has checked that they are uploads."""
    if image is None:
        return None
    if not isinstance(image, dict) or (image.get("meta") or {}).get("_type") != "gradio.FileData":
        raise Mistake("An image is an uploaded file: pass gradio_client.handle_file('image.png').")
    return image.get("path")


@dataclass(frozen=True)
class Endpoints:
    """The public functions. `model` and `revision` name any repository of atlas_hf; by default the demo's own."""

    demo: Demo

    def tasks(self, model: str = "", revision: str = "", token: str = "") -> dict[str, Any]:
        """The tasks of a model in the order of learning: inputs, answers, score, and which earlier ones each reuses.

        Args:
            model: a repository, 'owner/name'; by default the model that this demo was started on.
            revision: a branch, a tag such as 'task-02-vqa', or a commit.
            token: for a private repository; it is not kept.

        Returns:
            {"model", "commit", "tasks": [{"name", "tag", "images", "text", "num_choices", "labels", "reuses", ...}]}
        """
        place = self._open(model, revision, token)
        return {"model": place.id, "commit": place.commit, "tasks": [_record(task) for task in place.tasks]}

    def predict(
        self,
        task: str,
        image: gr.FileData | None = None,
        second_image: gr.FileData | None = None,
        text: str = "",
        choices: list[str] | None = None,
        model: str = "",
        revision: str = "",
        token: str = "",
        after: int = 0,
    ) -> dict[str, Any]:
        """Answer a task's question.

        Args:
            task: the task's name, see /tasks.
            image: the image, of a pair the first; gradio_client.handle_file(...).
            second_image: the second image of a pair.
            text: the question, hypothesis ...; of a task with several text columns, a line for each.
            choices: what to choose from, for a multiple-choice task.
            model: a repository, 'owner/name'; by default the model that this demo was started on.
            revision: a branch, a tag such as 'task-02-vqa', or a commit.
            token: for a private repository; it is not kept.
            after: answer with the model as it was after so many tasks; 0 for all of them.

        Returns:
            {"answers": [{"label", "score"}, ...] best first, "seconds", "notes", "coefficients": {site: {task: a}}}
        """
        images = tuple(path for path in (uploaded(image), uploaded(second_image)) if path)
        question = Question(task, images, text, "\n".join(choices or ()))
        place = self._open(model, revision, token)
        answer = self.demo.ask_then(place, question, after) if after else self.demo.ask(place, question)
        if answer is None:
            raise Mistake(f"The task {task} was not learned yet after task {after}.")
        return {
            "answers": list(answer.answers),
            "seconds": round(answer.seconds, 4),
            "notes": list(answer.notes),
            "coefficients": {
                site: {name: round(value, 6) for name, value in values.items()}
                for site, values in answer.coefficients.items()
            },
        }

    def _open(self, model: str, revision: str, token: str) -> Place:
        return self.demo.open(model or (self.demo.home.id if revision else ""), revision, token)


def _record(task: Any) -> dict[str, Any]:
    spec = task.spec
    return {
        "name": task.name,
        "tag": task.tag,
        "problem_type": spec.problem_type,
        "images": len(spec.image_columns),
        "text": list(spec.text_columns),
        "num_choices": spec.num_choices,
        "labels": list(spec.label_names or ()),
        "reuses": list(task.record.experience),
        "metric": spec.metric,
        "score": task.score,
        "description": spec.description,
    }


def register(demo: Demo) -> None:
    """Add the endpoints, with all that their docstrings say, to the Blocks that are being built."""
    endpoints = Endpoints(demo)
    for function in (endpoints.tasks, endpoints.predict):
        gr.api(for_people(function), api_name=function.__name__, api_description=getdoc(function))
