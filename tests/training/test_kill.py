"""`atlas-hf learn`, killed at any moment and started again, ends with the bytes and pushes of a run that was not."""

import hashlib
import json
import random
import re
import sys
from pathlib import Path

import pytest

from shared.hub_models import QUIET
from shared.hub_server import HubServer, client_env
from shared.kill_runner import KILLED, runner

LEARN = ["learn", "--stream", "digits", "--smoke", "--threads", "1", "--recipe", "paper"]
SHORT = [*LEARN, "--tasks", "entailment", "text-choice", "--train_size", "32"]
REPO = "user/digits"
pytestmark = [QUIET, pytest.mark.skipif(sys.platform != "linux", reason="reads processor times from /proc")]


class Sequence:
    """The same command, in a folder and to a repository that begin empty."""

    def __init__(self, runner, hub):
        self.runner, self.hub = runner, hub

    def begin(self, argv: list[str], folder: Path) -> None:
        self.hub.clear()
        self.hub.store.repos.clear()
        self.hub.store.lfs.clear()
        self.argv, self.folder = [*argv, "--push_to", REPO, "--output", str(folder)], folder

    def run(self, **kill) -> int:
        return self.runner.run(self.argv, **kill)

    def finish(self):
        """Run to the end: every file, hidden ones too, and each commit of a task, its title and paths."""
        assert self.run() == 0
        repo = self.hub.store.repos["model", REPO]
        commits = [repo.commits[sha] for sha in repo.tags.values()]
        return digests(self.folder), sorted((commit.title, sorted(commit.tree)) for commit in commits)

    def steps(self) -> int:
        return self.runner.moments.count("step")


def digests(folder: Path) -> dict[str, str]:
    """Every file that is there, by its path: a left-over of a killed run is a difference."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(without_times(path)).hexdigest() for path in files}


def without_times(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name == "README.md":
        return re.sub(rb"\b[\d,]+\.\d s\b", b"... s", content)
    if path.parent.name == ".atlas_hf" and path.name == "files.json":  # the digests are of cards
        return json.dumps(sorted(json.loads(content)["files"])).encode()
    if path.name == "results.json":
        results = json.loads(content)
        for task in results["tasks"]:
            del task["timing"]
        return json.dumps(results).encode()
    return content


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runner")
    with HubServer() as hub, runner(client_env(hub, folder / "home"), folder) as running:
        yield Sequence(running, hub)


def whole_run(sequence, argv, folder):
    sequence.begin(argv, folder)
    return sequence.finish(), sequence.runner.moments, sequence.runner.cpu


@pytest.fixture(scope="module")
def short(sequence, tmp_path_factory):
    """Two tasks, never interrupted: what they end with."""
    return whole_run(sequence, SHORT, tmp_path_factory.mktemp("short") / "run")[0]


MOMENTS = {
    "stage 2 of the first task": ("step", 0),
    "stage 1 of the second task": ("step", 1),
    "between the stages": ("summary", 1, True),
    "stage 2 of the second task": ("step", 2),
    "in evaluation": ("evaluation", 2),
    "in a checkpoint": ("state", 1),
    "in the matrix": ("score", 2),
    "before the results": ("results", 0),
    "before the index": ("index", 0),
    "after the index": ("index", 1, True),
    "before the card": ("card", 1),
    "before the snapshot": ("snapshot", 1),
    "in the push": ("request", 12),
}


def at(moment):
    kind, number, *after = MOMENTS[moment]
    return {"kind": kind, "number": number, "after": bool(after)}


def test_killed_again_and_again(sequence, short, tmp_path):
    """No step is done twice: each stage here has one, and a checkpoint after it."""
    sequence.begin(SHORT, tmp_path / "run")
    for moment, steps in (("between the stages", 2), ("before the index", 1)):
        assert sequence.run(**at(moment)) == KILLED, f"'{moment}' was never reached"
        assert sequence.steps() == steps
    assert sequence.finish() == short
    assert sequence.steps() == 0


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_moment(sequence, short, tmp_path, moment):
    sequence.begin(SHORT, tmp_path / "run")
    assert sequence.run(**at(moment)) == KILLED, "the moment was never reached"
    assert sequence.finish() == short


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_write(sequence, short, tmp_path, after):
    """A chain: killed at its first write, started again and killed at its second, and so on until it gets through."""
    sequence.begin(SHORT, tmp_path / "run")
    number = 0
    while sequence.run(kind="replace", number=number, after=after) == KILLED:
        number += 1
    assert number > 10
    assert sequence.finish() == short


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_twenty_points(sequence, tmp_path):
    """The whole smoke stream: points of every kind, half-written files among them, by seed."""
    expected, moments, _ = whole_run(sequence, LEARN, tmp_path / "whole")
    for point in kill_points(moments, 20):
        where = f"killed at moment {point}, {moments[point]}, after {moments[:point].count('step')} steps"
        sequence.begin(LEARN, tmp_path / str(point))
        assert sequence.run(number=point) == KILLED, where
        assert sequence.finish() == expected, where


def kill_points(moments: list[str], count: int) -> list[int]:
    """Every kind of moment once or more."""
    rng = random.Random(0)
    places = {kind: [n for n, other in enumerate(moments) if other == kind] for kind in sorted(set(moments))}
    chosen = [rng.choice(numbers) for numbers in places.values()]
    rest = [n for n in range(len(moments)) if n not in chosen]
    return sorted(chosen + rng.sample(rest, count - len(chosen)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_twenty_instants(sequence, tmp_path):
    """The whole smoke stream: five runs, each killed four times, at seeded shares of its processor time."""
    expected, _, cpu = whole_run(sequence, LEARN, tmp_path / "whole")
    rng, killed = random.Random(0), 0
    for number in range(5):
        sequence.begin(LEARN, tmp_path / str(number))
        killed += sum(sequence.run(cpu=rng.uniform(0, cpu * 0.5)) == KILLED for _ in range(4))
        assert sequence.finish() == expected
    assert killed >= 10, "the others were done before their time came"
