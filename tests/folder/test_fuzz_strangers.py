"""Random files, folders and links of others in a folder, then whatever writes there: nothing is lost or pushed."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas_hf import AtlasConfig, AtlasModel, learn_sequence
from atlas_hf.benchmark.learning.report import write_report
from atlas_hf.folder import (
    CHECKPOINTS,
    HOME,
    MARK,
    REPORT_FILES,
    Results,
    TaskResult,
    copy_tasks,
    creating,
    paths_of_a_run,
    prepared,
)
from atlas_hf.folder import kind as kind_of
from atlas_hf.hub import HubError
from atlas_hf.hub.folder import commit_files, finished_tasks, snapshot
from atlas_hf.report.card import write_card, write_cards, write_task_card
from atlas_hf.training.checkpoints import remove_checkpoints
from atlas_hf.training.sequence import write_results
from shared.tiny import learned, quick, splits, text_spec

STREAM = [(text_spec(name), splits("a", 16, 4)) for name in ("one", "two", "three")]
MEASURED = Results(
    [TaskResult("one", score=0.5), TaskResult("two", experience=["one"], score=0.5)], [[0.5, None], [0.5, 0.5]]
)
STAGE = f"{CHECKPOINTS}/one/expansion"
OURS = [
    *(path.as_posix() for path in paths_of_a_run(Path(), ["one", "two", "three"])), "one", "two", "one/README.md",
    ".history/01-one/atlas.json", ".history/02-two/README.md", "one.yaml", "model", *REPORT_FILES[:2],
    f"{CHECKPOINTS}/one", STAGE, f"{STAGE}/checkpoint-1", f"{STAGE}/checkpoint-1/{MARK}", f"{STAGE}/checkpoint-2/one",
]  # fmt: skip
IN_HOME = [HOME, f"{HOME}/files.json", f"{HOME}/files.json.new", f"{HOME}/lock", f"{HOME}/notes"]
OTHERS = ["notes.txt", "one/notes.txt", "one/inner", "data/pets/1.png", ".history/mine", "two/adapter_model.bin"]
KINDS = ["file", "folder", "empty folder", "link to a file", "link to a folder", "link to nothing"]


def strangers(names):
    return st.lists(st.tuples(st.sampled_from(names), st.sampled_from(KINDS)), min_size=1, max_size=4)


in_used, in_fresh = strangers(OURS + OTHERS), strangers(OURS + OTHERS + IN_HOME)


@pytest.fixture(scope="module")
def model(bert_folder):
    return learned(bert_folder, ["one", "two"])


def prepare(folder):
    with prepared(folder):
        pass


@pytest.fixture(scope="module")
def used(model, tmp_path_factory):
    """A folder with everything in it that is ours."""
    folder = tmp_path_factory.mktemp("used") / "run"
    model.save_pretrained(folder)
    write_results(MEASURED, folder)
    write_card(folder)
    snapshot(folder, "two")
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def halfway(bert_folder, tmp_path_factory):
    """A folder in which two of the three tasks were learned."""
    folder = tmp_path_factory.mktemp("halfway") / "run"
    learn_sequence(begun(bert_folder), STREAM[:2], quick(max_steps=1), folder)
    return folder


def begun(backbone):
    """A model without tasks."""
    return AtlasModel.from_pretrained(backbone, config=AtlasConfig(r=4))


def learn(model, folder):
    """From the beginning, or on with the third task."""
    learn_sequence(begun(model.get_base_model().name_or_path), STREAM, quick(max_steps=1), folder)


def put(folder, outside, name, kind):
    """A stranger's thing, if there is room for it; its path."""
    path = folder / name
    ways = [place for place in path.parents if place != folder and place.is_relative_to(folder)]
    if kind_of(path) is not None or any(kind_of(place) not in (None, "folder") for place in ways):
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.write_text(f"mine: {name}")
    elif kind.startswith("link"):
        path.symlink_to(outside / {"file": "file", "folder": "in", "nothing": "no"}[kind.split()[-1]])
    else:
        path.mkdir()
        if kind == "folder":
            (path / "deep").mkdir()
            (path / "deep" / "mine.txt").write_text(f"mine: {name}")
    return path


def seen(place):
    """All that is at a path: links as they are, files by their bytes, folders by what others put into them."""
    there = kind_of(place)
    if there == "folder":
        inner = (path for path in sorted(place.rglob("*")) if kind_of(path) != "folder")
        return {path.relative_to(place).as_posix(): seen(path) for path in inner}
    return str(place.readlink()) if there == "link" else place.read_bytes() if there == "file" else there


def kept(was, now):
    """A stranger's folder may have more in it than before, such as a task of ours."""
    both = isinstance(was, dict) and isinstance(now, dict)
    return was.items() <= now.items() if both else was == now


def prune(model, folder):
    with creating(folder.parent / "pruned") as temporary:
        temporary.mkdir()
        copy_tasks(folder, temporary)
        model.save_pretrained(temporary, tasks=["two"])


WRITERS = {
    "save": lambda model, folder: model.save_pretrained(folder),
    "save the second": lambda model, folder: model.save_pretrained(folder, tasks=["two"]),
    "results": lambda model, folder: write_results(MEASURED, folder),
    "card": lambda model, folder: write_card(folder),
    "cards": lambda model, folder: write_cards(folder, "me/run"),
    "card of a task": lambda model, folder: write_task_card(folder, "one"),
    "snapshot": lambda model, folder: snapshot(folder, "two"),
    "prepare": lambda model, folder: prepare(folder),
    "checkpoints": lambda model, folder: [remove_checkpoints(folder, name) for name in ("one", "two")],
    "report": lambda model, folder: write_report(folder),
    "prune": prune,
    "learn": learn,
}


def pushed(folder):
    """All bytes that a push of any of its tasks would send."""
    done = finished_tasks(folder)
    for count in range(1, len(done) + 1):
        for source in commit_files(folder, done[:count]).values():
            yield source if isinstance(source, bytes) else source.read_bytes()


def check(model, used, things, writers):
    """Put them, write, and look."""
    with tempfile.TemporaryDirectory() as place:
        folder, outside = Path(place) / "run", Path(place) / "outside"
        (outside / "in").mkdir(parents=True)
        (outside / "file").write_text("mine: outside")
        (outside / "in" / "inner.txt").write_text("mine: outside")
        folder.mkdir() if used is None else shutil.copytree(used, folder)
        theirs = [path for name, kind in things if (path := put(folder, outside, name, kind)) is not None]
        before = {path: seen(path) for path in [*theirs, outside]}
        for name in writers:
            with suppress(ValueError, FileExistsError, HubError):
                WRITERS[name](model, folder)
            for path, was in before.items():
                assert kept(was, seen(path)), (name, path)
            with suppress(ValueError, HubError):
                assert not any(b"mine: " in content for content in pushed(folder)), name
        assert seen(outside) == before[outside]


fuzz = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
writers = st.lists(st.sampled_from(sorted(WRITERS)), min_size=1, max_size=3)
quick_writers = st.lists(st.sampled_from(sorted({*WRITERS} - {"learn", "results", "prune"})), min_size=1, max_size=2)


@settings(fuzz, max_examples=25)
@given(things=strangers(OURS), writers=st.permutations(["save", "card", "card of a task", "snapshot"]))
def test_in_a_fresh_folder(model, things, writers):
    check(model, None, things, ["save", *writers])


@settings(fuzz, max_examples=8)
@given(things=in_used, writers=quick_writers)
def test_in_a_folder_of_ours(model, used, things, writers):
    check(model, used, things, writers)


@pytest.mark.slow
@settings(fuzz, max_examples=500)
@given(things=in_fresh, writers=writers)
def test_in_a_fresh_folder_at_length(model, things, writers):
    check(model, None, things, writers)


@pytest.mark.slow
@settings(fuzz, max_examples=250)
@given(things=in_used, writers=writers)
def test_in_a_folder_that_goes_on_at_length(halfway, things, writers):
    check(AtlasModel.from_pretrained(halfway), halfway, things, writers)
