"""`learn_sequence`: a stream of tasks in order, each finished task saved and pushed before the next begins."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset

from atlas_hf import hub
from atlas_hf.data.looking import sizes
from atlas_hf.folder import (
    DOWNSTREAM,
    UPSTREAM,
    EditedError,
    Results,
    TaskResult,
    check_free,
    prepared,
    saying_what_is_safe,
)
from atlas_hf.model import AtlasModel
from atlas_hf.report.card import write_card
from atlas_hf.report.pictures import draw_results
from atlas_hf.report.text import format_score
from atlas_hf.training.alone import compare_alone
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.checking import check_arguments, check_stream, pairs_of
from atlas_hf.training.checkpoints import remove_checkpoints
from atlas_hf.training.evidence import is_head_alone
from atlas_hf.training.learning import environment, learn_task
from atlas_hf.training.pace import Pace, examples_trained_on
from atlas_hf.training.per_task import Given, TaskSettings, settings_by_task
from atlas_hf.training.publishing import repository
from atlas_hf.training.resuming import Stream, check_tasks_of_model, resume
from atlas_hf.training.scoring import measure
from atlas_hf.training.screening import most_useful
from atlas_hf.training.settings import all_settings, as_written, differing
from atlas_hf.training.task_trainer import score

CHEAP = 0.1  # share of all training examples up to which a task is learned twice unasked

logger = logging.getLogger(__name__)


def learn_sequence(
    model: AtlasModel,
    stream: Stream,
    args: AtlasTrainingArguments,
    output_dir: str | Path,
    downstream: Stream = (),
    reuse: bool = True,
    description: Mapping[str, Any] | None = None,
    max_experience: int | None = None,
    settings: Given = None,
    compare_alone: bool | None = None,
) -> dict[str, Any]:
    """Learn the tasks of a stream in order, without losing any, and write everything to a folder.

    For each task: choose what it reuses, learn it, score it and the tasks before it (a row of the accuracy matrix),
    save, publish. A finished task is never done again: called again with the same folder, the function goes on with
    the next task.

    By default (`args.recipe`) a task begins at the model of the earlier task that helps it, or at the bare backbone,
    with a head that is learned to its end first. Its stages count only if it answers clearly better after them, on
    `validation`; so a task may be a head and a few queries (`args.expand`, `docs/reuse.md`).

    Settings belong to a task: a folder may be gone on with under others, which then hold for the tasks that are not
    learned yet. What each was learned with stands in `results.json`.

    Args:
        model: without tasks, or with the first ones of the folder; the folder's others are loaded into it.
        stream: pairs of a `TaskSpec` and its splits `train` and `test`, and `validation` if there is one to choose the
            best state by; without it the last state counts.
        args: with `push_to_hub`, access is checked before anything is trained, and every finished task is pushed to
            `hub_model_id`, one commit and one tag each. A push that fails costs nothing: the sequence goes on, and
            what is missing is pushed with the next task, or by `atlas-hf push`.
        output_dir: where the tasks, `atlas.json`, `results.json`, the plots and the checkpoints go.
        downstream: tasks that each start from the model after `stream`, and do not reuse one another.
        reuse: False learns every task alone (`max_experience=0`): the independent adapters to compare with.
        description: kept in `results.json` (for example where the data comes from).
        max_experience: reuse the adapters of so many earlier tasks at most, of those that suit the new one best; None
            for any number.
        settings: by the name of a task, what is different for it: fields of `args`, and `r`, the width of its adapter.
            `"auto"` instead, for a task or for all, chooses length, batch and rate by the number of examples where
            `args` leave them at their defaults (`atlas_hf.training.defaults.chosen_for`); to give some and choose the
            rest, `{"learning_rate": 1e-3, "auto": True}`.

        compare_alone: learn each task that reuses others once more, without them, and say what reuse gave it
            (`atlas_hf.training.alone`); that doubles its time. None does so where it costs little: for a task that
            has a tenth of all training examples at most, or of which nothing but a head is learned.

    Returns what `results.json` holds.

    Raises:
        ValueError: bad data or settings, or a folder with other tasks. Nothing is lost: what was finished stays.
    """
    check_arguments(model, reuse, max_experience, description)
    limit = max_experience if reuse else 0
    stream, downstream = pairs_of(stream, "stream"), pairs_of(downstream, "downstream")
    args = AtlasTrainingArguments.of(args)
    check_stream([*stream, *downstream], quiet=args.disable_tqdm or args.process_index > 0)
    by_task = settings_by_task(settings, args, model, [*stream, *downstream])
    sequence = _Sequence(model, stream, downstream, args, by_task, Path(output_dir), limit, compare_alone)
    with ExitStack() as running:
        results, repo_id = sequence.begin(dict(description or {}), running)
        pace = sequence.pace()
        for position, (spec, _) in enumerate(sequence.tasks):
            if spec.name not in model.specs:
                with saying_what_is_safe(sequence.folder, f"Task '{spec.name}'", model.tasks):
                    sequence.learn(position, results)
                    sequence.tell(pace.after(spec.name))
                    if sequence.args.process_index == 0:
                        publish(sequence.folder, spec.name, repo_id, sequence.args)
        PartialState().wait_for_everyone()
    return results.to_dict()


@dataclass(frozen=True)
class _Sequence:
    """What is learned, and into which folder: the arguments of `learn_sequence`."""

    model: AtlasModel
    stream: Stream
    downstream: Stream
    args: AtlasTrainingArguments
    by_task: Mapping[str, TaskSettings]
    folder: Path
    limit: int | None  # of the tasks that one reuses
    compare_alone: bool | None  # None: where it is cheap

    @property
    def tasks(self) -> Stream:
        return [*self.stream, *self.downstream]

    def begin(self, description: dict[str, Any], running: ExitStack) -> tuple[Results, str | None]:
        """Check everything, and go on with what the folder holds: its results, and the repository to push to.

        Until `running` ends, no other run learns into the folder.
        """
        model, args, folder, main = self.model, self.args, self.folder, self.args.process_index == 0
        for spec, _ in self.tasks:
            model.base_model.check_name(spec.name)
        check_free(folder, [spec.name for spec, _ in self.tasks])
        check_tasks_of_model(model, folder)
        repo_id = repository(model, args)
        settings, further = all_settings(model, args, self.limit)
        if main:
            running.enter_context(prepared(folder))
        results = resume(model, folder, self.tasks, Results([], [], settings, further, description, environment()))
        if main and model.tasks:
            with saying_what_is_safe(folder, "The results so far", model.tasks):
                keep_again(model, results, folder)
                publish(folder, model.tasks[-1], repo_id, args)
        self._tell_what_comes(results)
        return results, repo_id

    def _tell_what_comes(self, results: Results) -> None:
        """The data and what was chosen for them, of each task that is to be learned; what no longer has an effect."""
        for spec, data in self.tasks[len(results.tasks) :]:
            self.tell(sizes(spec, data))
            if own := self.by_task[spec.name].told:
                self.tell(f"{spec.name}: {own}")
        done = len(results.tasks) == len(self.tasks)
        for task in results.tasks:
            if done or self.by_task[task.name].named:
                then = as_written(results, task)
                others = {name: now for name, now in self._own(then, task.name).items() if name in then}
                listed = ", ".join(f"{name}={then[name]!r} (now {now!r})" for name, now in others.items())
                if listed:
                    self.tell(f"{task.name}: finished, and stays as it was learned, with {listed}")

    def tell(self, *lines: str) -> None:
        """Print, once of all processes."""
        for line in filter(None, lines if self.args.process_index == 0 else ()):
            print(line, flush=True)

    def _own(self, then: Mapping[str, Any], task: str) -> dict[str, Any]:
        """The settings of a task that are others `then`."""
        own = self.by_task[task]
        return differing(then, *all_settings(self.model, own.args, self.limit, own.config))

    def pace(self) -> Pace:
        """How long the tasks will take."""
        lengths = ((s.name, examples_trained_on(self.by_task[s.name].args, len(d["train"]))) for s, d in self.tasks)
        return Pace(dict(lengths))

    def learn(self, position: int, results: Results) -> None:
        """Choose what a task reuses, learn it, score it and those before it, and save it."""
        model, (spec, data) = self.model, self.tasks[position]
        own = self.by_task[spec.name]
        args = own.args
        before = self.stream[:position]  # of a downstream task, all of the stream
        with finished_or_forgotten(model, spec.name):
            names = [known.name for known, _ in before] if self.limit != 0 else []
            if args.recipe == "paper":  # by evidence, the trainer chooses
                names = most_useful(model, spec, data["train"], self.limit, names, args.seed)
            result = learn_task(model, spec, data, names, args, self.folder, self.limit, own.config)
            result.role = UPSTREAM if position < len(self.stream) else DOWNSTREAM
            result.settings = self._own(as_written(results), spec.name)
            earlier = before if result.role == UPSTREAM else ()
            scores = [
                score(model, known.name, split["test"], self.by_task[known.name].args) for known, split in earlier
            ]
            scores.append(measure(model, result, data["test"], args))
            if self._compares(result, data):
                self.tell(f"{spec.name}: is learned once more without the others, to compare")
                result.alone = compare_alone(model, spec.name, data, args, **own.config)
            results.add(result, scores)
            model.metrics[spec.name] = {spec.metric: scores[-1], "random_baseline": spec.random_baseline}
            if args.process_index == 0:
                keep(model, spec.name, results, self.folder)
        self.tell(*format_score(result))

    def _compares(self, result: TaskResult, data: Mapping[str, Dataset]) -> bool:
        """Is it to be told what reuse gave the task? Nothing, if it reuses nothing."""
        few, of_all = len(data["train"]), sum(len(split["train"]) for _, split in self.tasks)
        head_alone = is_head_alone(few, data.get("validation"), self.by_task[result.name].args)
        asked = head_alone or few <= CHEAP * of_all if self.compare_alone is None else self.compare_alone
        return asked and bool(result.experience)


@contextmanager
def finished_or_forgotten(model: AtlasModel, task: str) -> Iterator[None]:
    """The model holds no half-learned task after an error or Ctrl-C, so that the next call can go on with it."""
    try:
        yield
    except BaseException:
        if task in model.tasks:
            model.set_task(None)
            model.delete_task(task)
        raise


def keep(model: AtlasModel, task: str, results: Results, folder: Path) -> None:
    """Save a task; it counts as learned from the moment that `atlas.json` names it, which is written last.

    `results` are of all tasks, this one included; `folder` holds all others.
    """
    write_results(results, folder)
    model.save_pretrained(folder, tasks=[task])
    remove_checkpoints(folder, task)


def keep_again(model: AtlasModel, results: Results, folder: Path) -> None:
    """What a process may have left undone that was killed after it had saved the last task."""
    for task in model.tasks:
        remove_checkpoints(folder, task)
    write_results(results, folder)


def write_results(results: Results, folder: Path) -> None:
    """`results.json`, and the pictures of it."""
    results.save(folder)
    draw_results(results, folder)


def publish(folder: Path, task: str, repo_id: str | None, args: AtlasTrainingArguments) -> None:
    """Write the card, keep this state, whose last task is `task`, for its commit, and push what is not there yet.

    A push that fails is a warning: nothing of it is lost.
    """
    try:
        write_card(folder, repo_id)
    except EditedError as error:
        logger.warning("%s", error)
    hub.snapshot(folder, task)
    if repo_id is None:
        return
    try:
        hub.push(folder, repo_id, private=args.hub_private_repo, token=args.hub_token)
    except (hub.HubError, ValueError) as error:
        logger.warning(
            "Task '%s' is learned and saved in %s, but was not pushed to %s: %s It is pushed with the next task, "
            "or with `atlas-hf push %s %s`.", task, folder, repo_id, error, folder, repo_id,
        )  # fmt: skip
