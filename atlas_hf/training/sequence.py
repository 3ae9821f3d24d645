"""`learn_sequence`: a stream of tasks in order, each finished task saved and pushed before the next begins."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset

from atlas_hf import hub
from atlas_hf.folder import DOWNSTREAM, UPSTREAM, EditedError, Results, prepare, saying_what_is_safe
from atlas_hf.model import AtlasModel
from atlas_hf.report.card import write_card
from atlas_hf.report.pictures import draw_results
from atlas_hf.tasks import TaskSpec
from atlas_hf.training.arguments import AtlasTrainingArguments
from atlas_hf.training.checkpoints import remove_checkpoints
from atlas_hf.training.learning import environment, learn_task
from atlas_hf.training.resuming import Stream, resume, sequence_settings
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

    For each task: choose what it reuses, learn it in its stages, score it and the tasks before it (a row of the
    accuracy matrix), save, publish. A finished task is never done again: called again with the same folder, the
    function goes on with the next task.

    Args:
        model: without tasks; those of the folder are loaded into it.
        stream: pairs of a `TaskSpec` and its splits `train`, `validation` and `test`.
        output_dir: where the tasks, `atlas.json`, `results.json`, the plots and the checkpoints go.
        downstream: tasks that each start from the model after `stream`, and do not reuse one another.
        reuse: False learns every task alone (`max_experience=0`): the independent adapters to compare with.
        description: kept in `results.json` (for example where the data comes from).
        max_experience: reuse so many earlier tasks at most, those that suit the new one best
            (`atlas_hf.training.screening.most_useful`); None: all of them.

    With `args.push_to_hub`, access is checked before anything is trained, and every finished task is pushed to
    `args.hub_model_id`, one commit and one tag each. A push that fails costs nothing: the sequence goes on, and what
    is missing is pushed with the next task, or by `atlas-hf push`.

    Returns what `results.json` holds.

    Raises:
        ValueError: bad data, or a folder with other tasks or settings. Nothing is lost: what was finished stays.
    """
    folder, main = Path(output_dir), args.process_index == 0
    tasks, upstream = [*stream, *downstream], [spec.name for spec, _ in stream]
    limit = max_experience if reuse else 0
    for spec, data in tasks:
        _check_splits(spec, data)
    repo_id = repository(model, args)
    settings, further = sequence_settings(model, args, limit)
    if main:
        prepare(folder, [spec.name for spec, _ in tasks])
    given = Results([], [], settings, further, dict(description or {}), environment())
    results = resume(model, folder, tasks, given)
    if main and model.tasks:
        with saying_what_is_safe(folder, "The results so far", model.tasks):
            keep_again(model, results, folder)
            publish(folder, model.tasks[-1], repo_id, args)
    for position, (spec, data) in enumerate(tasks):
        if spec.name in model.specs:
            continue
        with saying_what_is_safe(folder, f"Task '{spec.name}'", model.tasks):
            experience = most_useful(model, spec, data["train"], limit, upstream[:position], args.seed)
            result = learn_task(model, spec, data, experience, args, folder)
            result.role = UPSTREAM if spec.name in upstream else DOWNSTREAM
            scored = stream[: position + 1] if result.role == UPSTREAM else [(spec, data)]
            scores = [score(model, known.name, split["test"], args) for known, split in scored]
            results.add(result, scores)
            model.metrics[spec.name] = {spec.metric: scores[-1], "random_baseline": spec.random_baseline}
            if main:
                keep(model, spec.name, results, folder)
                publish(folder, spec.name, repo_id, args)
    PartialState().wait_for_everyone()
    return results.to_dict()


def _check_splits(spec: TaskSpec, data: Mapping[str, Dataset]) -> None:
    missing = [split for split in SPLITS if split not in data]
    if missing:
        raise ValueError(f"Task '{spec.name}' lacks the split(s) {missing}; it has {list(data)}. Give {SPLITS}.")
    for split in SPLITS:
        spec.check_dataset(data[split], split)


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


def repository(model: AtlasModel, args: AtlasTrainingArguments) -> str | None:
    """Full name of the repository that the first process pushes to, which it makes sure that it can write.

    Raises:
        ValueError: no repository is named, or nobody else could load the backbone.
        HubError: the repository cannot be written.
    """
    if not args.push_to_hub or args.process_index != 0:
        return None
    if not args.hub_model_id:
        raise ValueError("push_to_hub needs hub_model_id: the repository to push to, for example 'me/my-atlas'.")
    model.check_pushable()
    return hub.ensure_writable_repo(args.hub_model_id, private=args.hub_private_repo, token=args.hub_token)


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
