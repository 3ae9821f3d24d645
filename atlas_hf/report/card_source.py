"""What a model card is drawn from: the JSON files of a folder of learned tasks, read and made safe to print.

A folder may come from anybody, and its card is read by everybody. So every string from a file goes through
`printable.md`; only what was checked (`hub_id`, task names, numbers) is printed as it is.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.utils import validate_repo_id

from atlas_hf.folder import (
    CONFIG,
    DOWNSTREAM,
    INDEX,
    Index,
    Results,
    TaskRecord,
    TaskResult,
    read_json,
    read_spec,
    refuse_links,
)
from atlas_hf.hub import SHIPPED_BACKBONES, is_repository
from atlas_hf.report.printable import mapping, md, public, real
from atlas_hf.tasks import TaskSpec

# Our metric: the type by which the Hub knows it, and what a reader should see.
METRIC_NAMES = {
    "accuracy": ("accuracy", "accuracy"),
    "soft_accuracy": ("accuracy", "soft accuracy (VQA)"),
    "pearson": ("pearsonr", "Pearson correlation"),
}
PIPELINES = ("visual-question-answering", "image-classification", "text-classification", "audio-classification")
MAX_CHOICES = 100
_LABEL = re.compile(r"[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_FILE = re.compile(r"\.(jsonl?|csv|tsv|parquet|arrow|txt|zip|tar|gz|py|pt|bin|safetensors)$", re.IGNORECASE)


@dataclass(frozen=True)
class CardTask:
    """A task of the folder. `result`: its part of `results.json`, None if there is none."""

    position: int
    name: str
    record: TaskRecord
    spec: TaskSpec
    config: Mapping[str, Any]
    result: TaskResult | None
    bytes: int

    @property
    def tag(self) -> str:
        """Of its commit on the Hub."""
        return f"task-{self.position:02d}-{self.name}"

    @property
    def score(self) -> float | None:
        """On the test split, as measured last."""
        measured = None if self.result is None else self.result.score
        return real(mapping(self.record.metrics).get(self.spec.metric) if measured is None else measured)

    @property
    def metric(self) -> str:
        """The metric's name for a reader."""
        return METRIC_NAMES[self.spec.metric][1]

    @property
    def downstream(self) -> bool:
        """Was it learned on its own, from the model after the stream?"""
        return self.result is not None and self.result.role == DOWNSTREAM

    @property
    def parameters(self) -> dict[str, int]:
        """Of the adapter, key, queries and head; empty if not known."""
        found = mapping(self.result and self.result.parameters)
        known = {part: real(found.get(part)) for part in ("adapter", "key", "queries", "head")}
        return {part: int(size) for part, size in known.items() if size is not None}

    @property
    def own_adapter(self) -> bool:
        """Has it one, or does it only weigh those of others?"""
        return self.config.get("own_adapter", True) is not False

    @property
    def sources(self) -> dict[str, float | None]:
        """What was measured of where it could have begun, see `TaskResult`."""
        return {name: real(error) for name, error in mapping(self.result and self.result.sources).items()}

    @property
    def expansion(self) -> tuple[float, float] | None:
        """The score without and with an adapter of its own by which was decided; None if that was not measured."""
        stage = mapping(mapping(self.result and self.result.stages).get("expansion"))
        without, with_it = real(stage.get("score_before")), real(stage.get("score_after"))
        return None if without is None or with_it is None else (without, with_it)

    @property
    def standard_error(self) -> float | None:
        """Of the score."""
        return real(self.result and self.result.standard_error)

    @property
    def chance(self) -> float | None:
        """What one answer for all test examples gives; where they were not counted, what the task's author says."""
        measured = self.result and self.result.chance
        return real(self.spec.random_baseline if measured is None else measured)

    @property
    def seconds(self) -> float | None:
        """That learning it took."""
        return real(mapping(self.result and self.result.timing).get("seconds"))

    @property
    def coefficients(self) -> dict[str, float | None]:
        """Mean over the sites, by the task whose adapter it is; None where a site has no number for it."""
        sites = [mapping(site) for site in mapping(self.result and self.result.coefficients).values()]
        values = {name: [real(site.get(name)) for site in sites] for name in (sites[0] if sites else ())}
        known = {name: [value for value in found if value is not None] for name, found in values.items()}
        return {name: sum(found) / len(found) if len(found) == len(sites) else None for name, found in known.items()}

    @property
    def contributions(self) -> dict[str, float | None]:
        """What each adapter adds, by the task whose it is; empty where that was not measured."""
        return {name: real(share) for name, share in mapping(self.result and self.result.contributions).items()}

    @property
    def modules(self) -> str:
        """Its sites, ready to print."""
        found = self.config.get("target_modules")
        return md(", ".join(map(str, found)) if isinstance(found, list) else found or "")

    @property
    def pipeline(self) -> str:
        """The kind of task, in the Hub's words; the nearest one, for it has none for entailment or pairs."""
        asks = self.spec.problem_type in ("multi_label_classification", "multiple_choice")
        if self.spec.modality == "multi-modal" and asks:
            return PIPELINES[0]
        return PIPELINES[1 if self.spec.image_columns else 3 if self.spec.audio_column else 2]

    @property
    def call(self) -> str:
        """Arguments of `AtlasModel.predict` that run as they are."""
        spec, arguments = self.spec, [f'"{self.name}"']
        words = (" ".join(re.findall("[A-Za-z0-9]+", public(column)))[:40] or "text" for column in spec.text_columns)
        texts = [f'"your {word}"' for word in words]
        for name, values in (("images", ["image"] * len(spec.image_columns)), ("texts", texts)):
            if values:
                arguments.append(f"{name}={values[0] if len(values) == 1 else '(' + ', '.join(values) + ')'}")
        if spec.audio_column:
            arguments.append('audio={"array": [0.0] * 16_000, "sampling_rate": 16_000}')
        if spec.choices_column:
            choices = [f'"choice {i}"' for i in range(1, min(spec.rows_per_example, MAX_CHOICES) + 1)]
            arguments.append(f"choices=[{', '.join(choices)}]")
        return ", ".join(arguments)


@dataclass(frozen=True)
class Source:
    """Everything that a card is drawn from."""

    label: str
    index: Index
    base_id: str | None
    tasks: Sequence[CardTask]
    results: Results
    datasets: Sequence[str]

    @property
    def shipped(self) -> bool:
        """Does its backbone come with the package?"""
        return self.base_id in SHIPPED_BACKBONES

    @property
    def upstream(self) -> list[CardTask]:
        """The tasks of the stream that `results.json` knows."""
        return [task for task in self.tasks if task.result and not task.downstream]

    @property
    def matrix(self) -> list[list[float | None]]:
        """The accuracy matrix of the upstream tasks, square, None where there is no number."""
        size, rows = len(self.upstream), self.results.matrix
        return [[real(row[j]) if j < len(row) else None for j in range(size)] for row in rows[:size]]

    def described(self, key: str, shape: str, shipped: str) -> str | None:
        """What `learn_sequence(description=...)` says of `key`; of a built-in stream we know it."""
        about = self.results.description
        value = about.get(key)
        if isinstance(value, str) and re.fullmatch(shape, value):
            return value
        return shipped if self.shipped and about.get("stream") else None


def read_source(folder: Path, state: Path, repo_id: str | None) -> Source:
    """Read the index and results of `state` and the task folders of `folder`. Errors as those of `write_card`."""
    if repo_id is not None:
        validate_repo_id(repo_id)
    if state.is_relative_to(folder):
        refuse_links(state, folder)
    index, results = Index.load(state), Results.load(state)
    if not index.tasks:
        raise ValueError(f"{INDEX} names no task; a card needs at least one.")
    own = folder.resolve().name
    printable = _LABEL.fullmatch(own) and own != Path.home().name  # a home folder is named after its user
    measured = {task.name: task for task in results.tasks}
    tasks = [
        _read_task(folder, position, name, record, measured.get(name))
        for position, (name, record) in enumerate(index.tasks.items(), start=1)
    ]
    return Source(
        label=repo_id or (own if printable else "atlas-model"),
        index=index,
        base_id=hub_id(index.base_model.id, folder),
        tasks=tasks,
        results=results,
        datasets=[known for t in tasks if (known := hub_id(t.spec.dataset_id, folder)) and "/" in known],
    )


def _read_task(folder: Path, position: int, name: str, record: TaskRecord, result: TaskResult | None) -> CardTask:
    path = folder / name
    for file in record.files:
        refuse_links(path / file, folder)
    spec = read_spec(path)
    # Not what is there beside them, such as a card: writing a card must not change what it says.
    size = sum((path / file).stat().st_size for file in record.files if (path / file).is_file())
    return CardTask(position, name, record, spec, read_json(path / CONFIG), result, size)


def hub_id(value: Any, folder: Path) -> str | None:
    """`value` if it is an id on the Hub, as far as can be told offline; None for what is, or looks like, a path.

    A path such as `runs/backbone` has the form of an id, so it is looked for from here and from above the folder.
    """
    if not isinstance(value, str) or _FILE.search(value) or not is_repository(value):
        return None
    places = [Path.cwd(), *folder.resolve().parents]
    local = value not in SHIPPED_BACKBONES and any((place / value).exists() for place in places)
    return None if local else value
