"""What is ours in a folder of a version that kept no list of it: what its own files prove, and never a name alone."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from atlas_hf.folder.files import (
    CARD,
    CHECKPOINTS,
    HISTORY,
    INDEX,
    MARK,
    NEW_TASKS,
    REPORT,
    REPORT_FILES,
    RESULTS,
    ROOT_FILES,
    SHORTCUTS,
    TASK_FILES,
    AtlasFormatError,
    file_sha256,
    is_edited_by_people,
    kind,
)
from atlas_hf.folder.reading import read_json
from atlas_hf.tasks import check_task_name

_METADATA = 2**16  # bytes; a card of 1,000 tasks names its tags before them


def names_of_older(folder: Path) -> dict[str, list[str]]:
    """As the list has it: the tasks and shared files of a valid `atlas.json`, and checkpoints with our mark."""
    names: dict[str, None] = dict.fromkeys(_checkpoints(folder))
    tasks = _tasks(folder)
    if tasks is not None:
        shared = ROOT_FILES if _has_results(folder) else (INDEX, CARD)
        names |= dict.fromkeys([*shared, f"{CHECKPOINTS}/", f"{HISTORY}/"])
        for position, task in enumerate(tasks, start=1):
            state = f"{HISTORY}/{position:02d}-{task}"
            names |= dict.fromkeys([f"{task}/", f"{state}/", f"{task}.yaml"])
            names |= dict.fromkeys(f"{task}/{file}" for file in (*TASK_FILES, CARD))
            names |= dict.fromkeys(f"{state}/{file}" for file in ROOT_FILES)
    if _has_cells(folder):
        names |= dict.fromkeys(["cells/", "failed/", ".running/"])
        names |= dict.fromkeys(_reports(folder))
    cards = {file_sha256(path) for path in folder.glob(f"{HISTORY}/*/{CARD}") if kind(path) == "file"}
    found = [name for name in names if _is(folder / name, name) and _is_card_of_ours(folder / name)]
    return {name: _digests(folder / name, cards) for name in found}


def _is(path: Path, name: str) -> bool:
    return kind(path) == ("folder" if name.endswith("/") else "file")


def _is_card_of_ours(path: Path) -> bool:
    """By the tag that each of our cards has, for a `README.md`; all else passes."""
    if path.name != CARD or kind(path) != "file":
        return True
    with path.open("rb") as file:
        return re.match(rb"---\n(?:[^\n]*\n)*?- atlas_hf\n", file.read(_METADATA)) is not None


def _digests(path: Path, cards: Collection[str]) -> list[str]:
    """Of a file that people edit, as it is now; a card that is none of those kept in `.history` may be edited."""
    if not is_edited_by_people(path):
        return []
    digest = file_sha256(path)
    return [digest] if path.name != CARD or digest in cards else [digest, "edited"]


def _tasks(folder: Path) -> list[str] | None:
    """Of its `atlas.json`; None without one that has the form of ours."""
    if kind(folder / INDEX) != "file":
        return None
    try:
        values = read_json(folder / INDEX)
    except AtlasFormatError:
        return None
    tasks = values.get("tasks")
    if "format_version" not in values or not isinstance(values.get("base_model"), dict) or not isinstance(tasks, dict):
        return None
    return [name for name, record in tasks.items() if _is_ours(name, record)]


def _is_ours(name: str, record: object) -> bool:
    try:
        check_task_name(name)
    except ValueError:
        return False
    files = record.get("files") if isinstance(record, dict) else None
    return isinstance(files, dict) and set(files) == set(TASK_FILES)


def _has_results(folder: Path) -> bool:
    """Of tasks that were learned: pictures were drawn of them."""
    try:
        return kind(folder / RESULTS) == "file" and {"tasks", "matrix", "settings"} <= set(read_json(folder / RESULTS))
    except AtlasFormatError:
        return False


def _has_cells(folder: Path) -> bool:
    """Is it a benchmark, by a cell of it?"""
    path = next(iter(sorted(folder.glob("cells/*/*/seed-*.json"))), None)
    try:
        return path is not None and kind(path) == "file" and {"schema", "method", "order"} <= set(read_json(path))
    except AtlasFormatError:
        return False


def _reports(folder: Path) -> Iterator[str]:
    """Those beside a `report.md` with our heading: it was written last, over whatever was there."""
    report, shortcuts = folder / REPORT, folder / SHORTCUTS
    if kind(report) == "file":
        with report.open("rb") as file:
            if re.match(rb"# Benchmark on the .* stream\n\n- \d+ cells, seeds ", file.read(1000)):
                yield from (name for name in REPORT_FILES if name not in (SHORTCUTS, NEW_TASKS))
    try:
        if kind(shortcuts) == "file" and list(read_json(shortcuts)) == ["records"]:
            yield SHORTCUTS
    except AtlasFormatError:
        return


def _checkpoints(folder: Path) -> Iterator[str]:
    """Marked ones, below the folder or its `.checkpoints`, with the folders that they are in."""
    for place in (folder, folder / CHECKPOINTS):
        for mark in place.glob(f"*/*/checkpoint-*/{MARK}"):
            parents = [path for path in mark.parents if path != folder and path.is_relative_to(folder)]
            if kind(mark) == "file" and all(kind(path) == "folder" for path in parents):
                yield from (f"{path.relative_to(folder).as_posix()}/" for path in parents)
