"""The README's Python and every code block of the documentation, run as printed; the documentation builds.

A page that needs a trained model finds one in `runs/digits`, and the Hub is one on the loopback, where `me` may write,
and which has a tiny encoder under the name of the sentence encoder. Where a page says `movies.csv`, there are tables.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from atlas_hf.cli import main
from shared.hub_server import client_env, loopback_hub

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    options = ["--stream", "digits", "--order", "mono-first", "--smoke", "--disable_tqdm", "True"]
    assert main(["learn", *options, "--output", str(folder / "runs/digits")]) == 0
    return folder


@pytest.fixture(scope="module")
def tables(folder):
    """The tables of texts, small."""
    (folder / "tweets").mkdir()
    sizes = {"movies": 60, "products": 50, "tweets/train": 16, "tweets/test": 30, "songs": 50}
    for name, size in sizes.items():
        rows = [
            f"{'bad' if i % 2 else 'good'} {'abcde'[i % 5]} {i},{'neg' if i % 2 else 'pos'}itive" for i in range(size)
        ]
        (folder / f"{name}.csv").write_text("\n".join(["text,sentiment", *rows]))
    (folder / "new.csv").write_text("text\ngood a\nbad b\n")


@pytest.fixture
def hub(folder, tables, bert_folder, tmp_path):
    with loopback_hub(tmp_path / "home") as hub:
        user = hub.store.users["hf_write"]
        hub.store.users["hf_write"] = replace(user, organizations=(*user.organizations, "me"))
        hub.store.create("model", ENCODER)
        files = {path.name: path.read_bytes() for path in bert_folder.iterdir()}
        hub.foreign_commit(ENCODER, files | {"1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}'})
        yield hub


def blocks(path, *languages):
    return [(language, text) for language, text in BLOCK.findall(path.read_text()) if language in languages]


def run_shell(text, hub, home):
    """Each line by itself: our own commands in this process, others in theirs; `make` is what runs the tests."""
    for line in text.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line, comments=True) or ["make"]
        if program == "atlas-hf":
            assert main(arguments) == 0, line
        elif "accelerate launch" in line:
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
            subprocess.run(line, shell=True, env=client_env(hub, home) | {"PATH": path}, check=True)
        else:
            assert program == "make", f"{line!r}: how is it to be run?"


def test_the_python_of_the_readme_runs_as_printed(folder, hub, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    scope = {"__name__": "readme"}
    for _, block in blocks(ROOT / "README.md", "python"):
        exec(compile(block, "README.md", "exec"), scope)
    assert "[{'label':" in capsys.readouterr().out
    assert (folder / "runs/with-colour/colour/adapter_model.safetensors").is_file()


def test_b12_the_figures_of_the_quickstart_have_a_range_over_seeds():
    """One run's figure comes out otherwise on another machine."""
    part = (ROOT / "README.md").read_text().split("## Two commands")[1].split("\n## ")[0]
    cells = {row.split("|")[1].strip(): row.split("|")[2:-1] for row in part.splitlines() if row.startswith("|")}
    assert "over seeds 0 to 9" in part and len(cells["mean"]) == 6
    for mean, spread in zip(cells["mean"], cells["range"], strict=True):
        low, high = map(float, spread.split(" to "))
        assert low <= float(mean) <= high


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT / "docs")))
def test_every_block_of_a_page_runs_as_printed(page, folder, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    if "[the push](push.md)" in page.read_text():
        assert main(["push", "runs/digits", "me/digits-atlas"]) == 0
    scope = {"__name__": page.stem}
    for language, block in blocks(page, "python", "bash"):
        if language == "python":
            exec(compile(block, page.name, "exec"), scope)
        else:
            run_shell(block, hub, tmp_path / "home")


def test_every_block_says_its_language():
    for page in PAGES:
        unknown = {language for language, _ in BLOCK.findall(page.read_text())} - {"python", "bash", "text", "yaml"}
        assert not unknown, f"{page.name}: {unknown}"


def test_the_documentation_builds(tmp_path):
    """Strict: a broken link, a page that nobody links, or a name that is not there is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, cwd=ROOT, check=True)
    api = {page.stem: page.read_text() for page in (tmp_path / "site" / "api").glob("*.html")}
    assert "AtlasModel" in api["model"] and "experience_sha256" in api["tuner"]
    outside = r"(?:src|rel=\"stylesheet\" href)=\"https?://"
    assert not [page for page in (tmp_path / "site").rglob("*.html") if re.search(outside, page.read_text())]
