"""What can be done with a demo, for its page and its API alike; errors come out as texts for people."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from huggingface_hub.errors import RevisionNotFoundError

from atlas_hf import hub
from atlas_hf.demo.places import Mistake, Models, Place, visit
from atlas_hf.demo.questions import Answer, Question, ask
from atlas_hf.report.printable import public


@dataclass(frozen=True)
class Demo:
    """The model that the demo was started on, and the models in memory, for everybody who is visiting."""

    home: Place
    models: Models = field(default_factory=Models)

    def open(self, model_id: str | None, revision: str = "", token: str = "") -> Place:
        """The model a visitor names; by default the one the demo was started on. Raises `Mistake`."""
        with told(model_id or self.home.id):
            return visit(self.home, model_id, revision, token) if model_id else self.home

    def ask(self, place: Place, question: Question, after: int | None = None) -> Answer:
        """Answer a question, by the model as it is or as it was after its first `after` tasks. Raises `Mistake`."""
        with told(place.id):
            place.task(question.task)
            return ask(self.models.get(place, after), question)

    def ask_then(self, place: Place, question: Question, after: int) -> Answer | None:
        """The same as of task `after`; None if the task was not learned yet."""
        if not 1 <= after <= len(place.tasks):
            raise Mistake(f"The model has {len(place.tasks)} tasks; choose one of 1 to that, not {after}.")
        return self.ask(place, question, after) if place.task(question.task).position <= after else None


@contextmanager
def told(model_id: str) -> Iterator[None]:
    """What goes wrong with a model, or with what is asked of it, as a `Mistake`."""
    try:
        yield
    except (ValueError, OSError, hub.HubError) as error:
        raise Mistake(explain(error, model_id)) from error


def explain(error: BaseException, name: str) -> str:
    """One or two sentences for a person, without paths of this machine, addresses or status codes."""
    if isinstance(error, hub.NoTasksError):
        return f"{name} is no model of atlas_hf: it has no atlas.json."
    if isinstance(error, hub.AccessError) and isinstance(error.__cause__, RevisionNotFoundError):
        return f"{name} has no such revision. Give a branch, a tag such as task-02-vqa, or a commit."
    if isinstance(error, hub.AccessError):
        return f"There is no public repository {name}. Check the name; if it is private, give a token that reads it."
    if isinstance(error, hub.HubUnavailableError):
        return "The Hub cannot be reached, or does not answer. The model that is open stays. Try again later."
    if isinstance(error, hub.CorruptFileError):
        return f"A file of {name} is damaged: it does not have the checksum that atlas.json records."
    return public(str(error).strip().partition("\n")[0]) or f"{name} cannot be read ({type(error).__name__})."
