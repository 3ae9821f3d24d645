"""`README.md` for a folder of learned tasks, or for one task: metadata for the Hub and a text from a template.

Drawn from the folder's JSON files alone (see `card_source`); no model is loaded and no request is sent.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from atlas_hf.folder import CARD, FIGURES, HISTORY, INDEX, MATRIX_PLOT, REUSE_PLOT, EditedError, Owned
from atlas_hf.report.card_source import METRIC_NAMES, PIPELINES, CardTask, Source, read_source
from atlas_hf.report.printable import facts, md, number
from atlas_hf.report.text import format_gain

logger = logging.getLogger(__name__)


def write_card(folder: str | Path, repo_id: str | None = None, state: str | Path | None = None) -> Path:
    """Write `README.md` into a folder of learned tasks. The same files give the same bytes.

    Args:
        folder: what `learn_sequence` or `save_pretrained` wrote. Without `results.json` the card has fewer sections.
        repo_id: the Hub repository that the code in the card loads from; by default the folder's own name, without
            its path, for a reader who stands beside the folder.
        state: a folder with an earlier `atlas.json` and `results.json` of the same tasks; they are described, and the
            card is written beside them.

    Raises:
        AtlasFormatError: a file is not what atlas_hf writes.
        EditedError: somebody edited the card that is there, and it stays as it is.
        ValueError: `repo_id` is no repository's name, there is no task yet, or a card is there that is not ours.
    """
    state = Path(state or folder)
    source = read_source(Path(folder), state, repo_id)
    root = Path(folder) if state.is_relative_to(folder) else state
    return _write(root, state / CARD, "model_card.md", source, source.tasks, repo_id)


def write_cards(folder: str | Path, repo_id: str) -> None:
    """The card of a folder, and those of the earlier states that it keeps for their commits, for a repository.

    One that somebody edited stays as it is, with a warning.
    """
    folder = Path(folder)
    for state in [folder, *(index.parent for index in sorted(folder.glob(f"{HISTORY}/*/{INDEX}")))]:
        try:
            write_card(folder, repo_id, state)
        except EditedError as error:
            logger.warning("%s", error)


def write_task_card(folder: str | Path, task: str, repo_id: str | None = None) -> Path:
    """Write `README.md` into one task's folder; arguments and errors as those of `write_card`."""
    source = read_source(Path(folder), Path(folder), repo_id)
    chosen = [one for one in source.tasks if one.name == task]
    if not chosen:
        raise ValueError(f"There is no task {task!r}; there are {[one.name for one in source.tasks]}.")
    return _write(Path(folder), Path(folder) / task / CARD, "task_card.md", source, chosen, repo_id)


def _write(
    root: Path, path: Path, template: str, source: Source, tasks: Sequence[CardTask], repo_id: str | None
) -> Path:
    card = ModelCard.from_template(
        card_data(source, tasks),
        template_path=str(Path(__file__).parent / "templates" / template),
        summary={figure.__name__: figure(source.matrix) for figure in FIGURES},
        plots={"matrix": MATRIX_PLOT, "reuse": REUSE_PLOT},
        source=source, learned=tasks, repo_id=repo_id, md=md, number=number, facts=facts, format_gain=format_gain,
    )  # fmt: skip
    with Owned(root).replacing(path) as temporary:
        temporary.write_text(str(card).rstrip("\n") + "\n", encoding="utf-8", newline="\n")
    return path


def card_data(source: Source, tasks: Sequence[CardTask]) -> ModelCardData:
    """The metadata of a card about some of the tasks."""
    pipelines = {task.pipeline for task in tasks}
    modalities = {task.spec.modality for task in tasks}
    mixed = ("multimodal",) if len(modalities) > 1 or "multi-modal" in modalities else ()
    scored = [(task, score) for task in tasks if (score := task.score) is not None]
    return ModelCardData(
        library_name="peft",
        base_model=source.base_id,
        base_model_relation="adapter" if source.base_id else None,
        pipeline_tag=next(kind for kind in PIPELINES if kind in pipelines),
        license=source.described("license", r"[a-z][a-z0-9.-]{1,40}", "apache-2.0"),
        language=source.described("language", r"[a-z]{2,3}", "en"),
        datasets=sorted({i for t in tasks if (i := t.spec.dataset_id) and i in source.datasets}) or None,
        metrics=sorted({METRIC_NAMES[task.spec.metric][0] for task in tasks}),
        tags=["atlas", "atlas_hf", "continual-learning", "adapter", "peft", *mixed],
        model_name=source.label.split("/")[-1] if scored else None,
        eval_results=[_eval_result(source, task, score) for task, score in scored] or None,
    )


def _eval_result(source: Source, task: CardTask, score: float) -> EvalResult:
    """`dataset_config` keeps tasks of one data set apart, which would be merged into one result."""
    kind, name = METRIC_NAMES[task.spec.metric]
    dataset = task.spec.dataset_id
    known = dataset if dataset and dataset in source.datasets else task.name
    return EvalResult(
        task_type=task.pipeline, task_name=task.name,
        dataset_type=known, dataset_name=known, dataset_config=task.name,
        dataset_split="test" if task.result else None,
        metric_type=kind, metric_name=name, metric_value=round(score, 4),
    )  # fmt: skip
