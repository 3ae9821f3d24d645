"""`learn_sequence`: a stream of tasks in order, each finished task saved and pushed before the next begins."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset

from atlas_hf import hub
from atlas_hf.data.looking import look_at
from atlas_hf.folder import (
    DOWNSTREAM,
    RESULTS,
    UPSTREAM,
    EditedError,
    Results,
    check_free,
    check_structure,
    json_text,
    limit_of,
    prepared,
    saying_what_is_safe,
)
from atlas_hf.model import AtlasModel
from atlas_hf.report.card import write_card
from atlas_hf.report.pictures import draw_results
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.checkpoints import remove_checkpoints
from atlas_hf.training.learning import environment, learn_task
from atlas_hf.training.publishing import repository
from atlas_hf.training.resuming import Stream, check_tasks_of_model, resume, sequence_settings
from atlas_hf.training.screening import most_useful
from atlas_hf.training.task_trainer import score

logger = logging.getLogger(__name__)
SPLITS = ("train", "validation", "test")


def learn_sequence(
    model: AtlasModel,
    stream: Stream,
    args: AtlasTrainingArguments,
    output_dir: str | Path,
    downstream: Stream = (),
    reuse: bool = True,
    description: Mapping[str, Any] | None = None,
    max_experience: int | None = None,
) -> dict[str, Any]:
    """Learn the tasks of a stream in order, without losing any, and write everything to a folder.

    For each task: choose what it reuses, learn it, score it and the tasks before it (a row of the accuracy matrix),
    save, publish. A finished task is never done again: called again with the same folder, the function goes on with
    the next task.

    By default (`args.recipe`) a task begins at the model of the earlier task that helps it, or at the bare backbone,
    with a head that is learned to its end first. Its stages count only if it answers clearly better after them, on
    `validation`; so a task may be a head and a few queries (`args.expand`, `docs/reuse.md`). A folder of an older
    version goes on with `recipe="paper"`.

    Args:
        model: without tasks, or with the first ones of the folder; the folder's others are loaded into it.
        stream: pairs of a `TaskSpec` and its splits `train`, `validation` and `test`.
        args: with `push_to_hub`, access is checked before anything is trained, and every finished task is pushed to
            `hub_model_id`, one commit and one tag each. A push that fails costs nothing: the sequence goes on, and
            what is missing is pushed with the next task, or by `atlas-hf push`.
        output_dir: where the tasks, `atlas.json`, `results.json`, the plots and the checkpoints go.
        downstream: tasks that each start from the model after `stream`, and do not reuse one another.
        reuse: False learns every task alone (`max_experience=0`): the independent adapters to compare with.
        description: kept in `results.json` (for example where the data comes from).
        max_experience: reuse the adapters of so many earlier tasks at most, of those that suit the new one best; None
            for any number.

    Returns what `results.json` holds.

    Raises:
        ValueError: bad data, or a folder with other tasks or settings. Nothing is lost: what was finished stays.
    """
    _check_arguments(model, reuse, max_experience, description)
    limit = max_experience if reuse else 0
    stream, downstream = _pairs(stream, "stream"), _pairs(downstream, "downstream")
    sequence = _Sequence(model, stream, downstream, AtlasTrainingArguments.of(args), Path(output_dir), limit)
    with ExitStack() as running:
        results, repo_id = sequence.begin(dict(description or {}), running)
        for position, (spec, _) in enumerate(sequence.tasks):
            if spec.name not in model.specs:
                with saying_what_is_safe(sequence.folder, f"Task '{spec.name}'", model.tasks):
                    sequence.learn(position, results)
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
    folder: Path
    limit: int | None  # of the tasks that one reuses

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
        _check_stream(self.tasks, quiet=args.disable_tqdm or not main)
        check_free(folder, [spec.name for spec, _ in self.tasks])
        check_tasks_of_model(model, folder)
        repo_id = repository(model, args)
        settings, further = sequence_settings(model, args, self.limit)
        if main:
            running.enter_context(prepared(folder))
        results = resume(model, folder, self.tasks, Results([], [], settings, further, description, environment()))
        if main and model.tasks:
            with saying_what_is_safe(folder, "The results so far", model.tasks):
                keep_again(model, results, folder)
                publish(folder, model.tasks[-1], repo_id, args)
        return results, repo_id

    def learn(self, position: int, results: Results) -> None:
        """Choose what a task reuses, learn it, score it and those before it, and save it."""
        model, args, (spec, data) = self.model, self.args, self.tasks[position]
        before = self.stream[:position]  # of a downstream task, all of the stream
        with finished_or_forgotten(model, spec.name):
            names = [known.name for known, _ in before] if self.limit != 0 else []
            if args.recipe == "paper":  # by evidence, the trainer chooses
                names = most_useful(model, spec, data["train"], self.limit, names, args.seed)
            result = learn_task(model, spec, data, names, args, self.folder, self.limit)
            result.role = UPSTREAM if position < len(self.stream) else DOWNSTREAM
            scored = [*(before if result.role == UPSTREAM else ()), (spec, data)]
            scores = [score(model, known.name, split["test"], args) for known, split in scored]
            results.add(result, scores)
            model.metrics[spec.name] = {spec.metric: scores[-1], "random_baseline": spec.random_baseline}
            if args.process_index == 0:
                keep(model, spec.name, results, self.folder)


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


def _check_arguments(model: Any, reuse: Any, max_experience: Any, description: Any) -> None:
    """Raise for what would be found out when the first task is learned, or never."""
    if not isinstance(model, AtlasModel):
        raise TypeError(f"model is a {type(model).__name__}; give an AtlasModel (AtlasModel.from_pretrained).")
    if not isinstance(reuse, bool):
        raise TypeError(f"reuse is {reuse!r}; give True or False.")
    whole = isinstance(max_experience, int) and not isinstance(max_experience, bool)
    if max_experience is not None and not (whole and max_experience >= 0):
        raise ValueError(f"max_experience is {max_experience!r}; give a whole number from 0, or None for all tasks.")
    if not isinstance(description, Mapping | None):
        raise TypeError(f"description is a {type(description).__name__}; give a dict.")
    try:
        text = json_text(description or {}).encode()
        check_structure("it", text, limit_of(Path(RESULTS)))  # what is written is read again, within limits
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"description cannot be kept in results.json: {error}. Give names with texts, finite numbers, and lists "
            "and dicts of those."
        ) from error


def _pairs(given: Any, name: str) -> list[tuple[TaskSpec, Mapping[str, Dataset]]]:
    """A stream as a list; a `TypeError` for what holds no pairs."""
    several = isinstance(given, Iterable) and not isinstance(given, Mapping)
    pairs = list(given) if several else [given]
    wrong = [type(pair).__name__ for pair in pairs if not _is_pair(pair)]
    if wrong or not several:
        raise TypeError(
            f"{name} holds {', '.join(wrong[:3])}; give a list of pairs of a TaskSpec and its splits: "
            "[(spec, {'train': ..., 'validation': ..., 'test': ...}), ...]."
        )
    return pairs


def _is_pair(pair: Any) -> bool:
    pair = pair if isinstance(pair, (tuple, list)) else ()
    return len(pair) == 2 and isinstance(pair[0], TaskSpec) and isinstance(pair[1], Mapping)


def _check_stream(tasks: Stream, quiet: bool) -> None:
    names = [spec.name for spec, _ in tasks]
    if not names:
        raise ValueError("The stream is empty; give at least one pair of a TaskSpec and its splits.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"The tasks are {names}; each is learned once, so {twice} need other names.")
    for spec, data in tasks:
        _check_splits(spec, data, quiet)


def _check_splits(spec: TaskSpec, data: Mapping[str, Dataset], quiet: bool) -> None:
    missing = [split for split in SPLITS if split not in data]
    if missing:
        raise ValueError(f"Task '{spec.name}' lacks the split(s) {missing}; it has {list(data)}. Give {SPLITS}.")
    look_at(spec, {split: data[split] for split in SPLITS}, quiet=quiet)


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
