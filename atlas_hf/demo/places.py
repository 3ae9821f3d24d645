"""Where a model is, and the models that were loaded last. Visitors name repositories, never paths."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from huggingface_hub import HfApi

from atlas_hf import hub
from atlas_hf.demo import DIGITS_MODEL, DIGITS_MODEL_ID
from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.report.card_source import CardTask, Source, read_source

BRIEF = hub.Retry(tries=2, patience=10)


class Mistake(ValueError):
    """What a visitor did wrong, or what could not be had, in words for a person."""


@dataclass(frozen=True)
class Place:
    """A folder of learned tasks, or a Hub repository at one commit.

    Args:
        id: the folder, the repository's name, or `DIGITS_MODEL_ID`.
        folder: where its files are on this machine.
        revision: as it was asked for; None for a folder.
        commit: the commit that this was; None for a folder.
        token: what its files may be read with; False asks the Hub as a stranger.
    """

    id: str
    folder: Path
    revision: str | None = None
    commit: str | None = None
    token: str | bool | None = field(default=None, repr=False)

    @cached_property
    def source(self) -> Source:
        """Tasks, results and specs, read and made safe to print."""
        return read_source(self.folder, self.folder, self.id if self.commit else None)

    @property
    def tasks(self) -> list[CardTask]:
        """The finished tasks, in the order of learning."""
        return [task for task in self.source.tasks if task.record.stage == "complete"]

    def task(self, name: str) -> CardTask:
        """A task by name. Raises `Mistake`."""
        found = {task.name: task for task in self.tasks}
        if name not in found:
            raise Mistake(f"There is no task {name!r} in this model; there are {', '.join(found)}.")
        return found[name]

    def load(self, after: int | None = None) -> AtlasModel:
        """The model, or the model as it was after its first `after` tasks: by that task's tag, or from its files."""
        if self.commit is None:
            return AtlasModel.from_pretrained(self.folder, tasks=[task.name for task in self.tasks[:after]])
        revision = self.commit if after is None else self.tasks[after - 1].tag
        commit = hub.download(self.id, revision=revision, token=self.token, retry=BRIEF).name
        return AtlasModel.from_pretrained(self.id, revision=commit, token=self.token)


def home(model_id: str = DIGITS_MODEL_ID, revision: str | None = None) -> Place:
    """The model that a demo is started on: shipped, a folder, or a repository read with the token of this machine.

    Raises: `ValueError` and `HubError`, see `atlas_hf.hub.locate` and `atlas_hf.hub.download`.
    """
    folder = DIGITS_MODEL if model_id == DIGITS_MODEL_ID else Path(model_id)
    if folder.is_dir():
        if revision:
            raise ValueError(f"{model_id} is a folder; a revision ({revision!r}) is of a repository. Leave it out.")
        return _checked(Place(model_id, folder))
    if not hub.is_repository(model_id):
        raise ValueError(f"There is no folder {model_id!r}, and it is no repository id ('owner/name').")
    return _on_hub(model_id, revision, None)


def visit(start: Place, model_id: str, revision: str = "", token: str = "") -> Place:
    """The model that a visitor asks for: the one that the demo was started on, or any repository he may read.

    The token of this machine is for its own model alone. The Hub is asked each time, as this visitor: what somebody
    with more rights has brought into the cache is not shown to others.

    Raises: `ValueError` and `HubError`, with a text for `explain`.
    """
    model_id, wanted, token = model_id.strip(), revision.strip() or None, token.strip()
    if model_id == start.id and (start.commit is None or not wanted):
        if wanted:
            raise ValueError(f"{model_id} is a folder on the demo's machine and has no revisions. Leave it empty.")
        return start
    if "/" not in model_id or not hub.is_repository(model_id) or Path(model_id).exists():
        raise ValueError(f"{model_id!r} is no repository of the Hub. Write it as owner/name, such as me/digits-atlas.")
    hub.check_request(model_id, wanted, token or None)
    own = model_id == start.id
    rights = start.token if own else token or False
    if not own:
        hub.until_done(lambda: HfApi(token=rights).auth_check(model_id), f"read {model_id}", BRIEF, first_contact=True)
    return _on_hub(model_id, wanted, rights)


def _on_hub(model_id: str, revision: str | None, token: str | bool | None) -> Place:
    folder = hub.download(model_id, revision=revision, token=token, retry=BRIEF)
    return _checked(Place(model_id, folder, revision or "main", folder.name, token))


def _checked(place: Place) -> Place:
    """Fails for a folder that is none of ours or has no finished task yet."""
    if not place.tasks:
        raise ValueError(f"{place.id} has no finished task yet. Learn one (atlas-hf learn), then start again.")
    return place


class Models:
    """The models loaded last, `size` at most. Several threads may ask; each model is loaded once.

    A model that needed a token is kept under that token, so that nobody gets it without.
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], AtlasModel] = OrderedDict()

    def get(self, place: Place, after: int | None = None) -> AtlasModel:
        """The model of a place, as it was after `after` tasks (default: all of them)."""
        secret = hashlib.sha256(repr(place.token).encode()).hexdigest()
        key = (place.id, place.commit or "", secret, str(after))
        with self._lock:
            model = self._kept.pop(key, None) or place.load(after)
            self._kept[key] = model
            while len(self._kept) > self.size:
                self._kept.popitem(last=False)
        return model

    def __len__(self) -> int:
        return len(self._kept)
