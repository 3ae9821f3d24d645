"""`atlas-hf learn` that pushes to a Hub, killed (signal 9) at numbered moments of every kind, and started again."""

import hashlib
import json
import random
import re
from pathlib import Path

import pytest
from hub_server import HubServer, client_env
from learner import KILLED, learner

REPO = "user/atlas"
TWO_TASKS = ["--smoke", "--tasks", "text-choice", "image-class", "--order", "mono-first", "--train_size", "32"]
TIMES = (r'"timing": \{.*?\n      \}', r"Wall time of training.*?(?=\n\n|\n[A-Z`-])")


@pytest.fixture(scope="module")
def hub():
    with HubServer() as running:
        yield running


@pytest.fixture(scope="module")
def process(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learner")
    with learner(client_env(hub, folder / "home"), folder / "moments") as running:
        yield running


def without_times(content: bytes) -> bytes:
    """Only the wall times differ between two runs; they stand in results.json and in the card."""
    for times in TIMES:
        content = re.sub(times.encode(), b"", content, flags=re.DOTALL)
    return content


def contents(folder: Path) -> dict[str, str]:
    """The digest of every file, hidden ones too."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    return {
        name: hashlib.sha256(without_times(content) if name.endswith((".json", ".md")) else content).hexdigest()
        for name, content in found.items()
    }


class Sequence:
    """The same command, in a folder and to a repository that begin empty."""

    def __init__(self, process, hub, options):
        self.process, self.hub, self.options = process, hub, options

    def begin(self, folder: Path) -> None:
        self.hub.clear()
        self.hub.store.repos.clear()
        self.hub.store.lfs.clear()
        self.folder = folder

    def run(self, kill_at: int | None = None) -> int:
        return self.process.run([*self.options, "--push_to", REPO, "--output", str(self.folder)], kill_at)

    def pushed(self) -> list[tuple[str, list[str]]]:
        """Each commit of a task: its title and paths, from the first on."""
        repo = self.hub.store.repos["model", REPO]
        commits = [repo.commits[sha] for sha in repo.tags.values()]
        return sorted((commit.title, sorted(commit.tree)) for commit in commits)


def whole_run(sequence: Sequence, folder: Path):
    sequence.begin(folder)
    assert sequence.run() == 0
    return contents(folder), sequence.pushed(), sequence.process.moments


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_again_and_again(process, hub, tmp_path):
    """Each run is killed a little later in its task than the one before, at another kind of moment."""
    sequence = Sequence(process, hub, TWO_TASKS)
    expected, pushed, moments = whole_run(sequence, tmp_path / "whole")
    sequence.begin(tmp_path / "killed")
    second_task = moments.index("step", moments.index("step") + 1)
    assert sequence.run(moments.index("step") + 2) == KILLED, "in the evaluation after the first step"
    assert sequence.run(last(moments, "request", second_task)) == KILLED, "while the first task is pushed"
    assert json.loads((tmp_path / "killed/atlas.json").read_text())["tasks"].keys() == {"text-choice"}
    assert sequence.run() == 0
    assert contents(tmp_path / "killed") == expected and sequence.pushed() == pushed


def last(moments: list[str], kind: str, end: int) -> int:
    return end - 1 - moments[:end][::-1].index(kind)


def kill_points(moments: list[str], count: int) -> list[int]:
    """Every kind of moment once or more, by seed."""
    rng = random.Random(0)
    places = {kind: [n for n, other in enumerate(moments) if other == kind] for kind in sorted(set(moments))}
    chosen = [rng.choice(numbers) for numbers in places.values()]
    rest = [n for n in range(len(moments)) if n not in chosen]
    return sorted(chosen + rng.sample(rest, count - len(chosen)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_twenty_points(process, hub, tmp_path):
    sequence = Sequence(process, hub, ["--smoke"])
    expected, pushed, moments = whole_run(sequence, tmp_path / "whole")
    for point in kill_points(moments, 20):
        where = f"killed at moment {point}, {moments[point]}, after {moments[:point].count('step')} steps"
        print(where, flush=True)
        sequence.begin(tmp_path / str(point))
        assert sequence.run(point) == KILLED, where
        assert sequence.run() == 0, where
        assert contents(tmp_path / str(point)) == expected, where
        assert sequence.pushed() == pushed, where
