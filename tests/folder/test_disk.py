"""A disk that is full, a folder that cannot be written: nothing learned is lost, and the error says how to go on."""

import errno
import os
import subprocess

import pytest

from atlas_hf import AtlasConfig, AtlasModel, learn_sequence
from atlas_hf.folder import HOME, INDEX, AtlasFormatError, Owned
from shared.tiny import quick, splits, text_spec

STREAM = [(text_spec(f"has-{letter}"), splits(letter)) for letter in "ab"]


@pytest.fixture
def args():
    return quick(max_steps=2)


@pytest.fixture
def fresh(bert_folder):
    return lambda: AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk):
    """Take all the space that is left."""
    zeros = iter(lambda: b"0" * 4096, b"")
    with (disk / "other").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left on device"):
        file.writelines(zeros)


def test_a_full_disk(fresh, args, small_disk):
    folder = small_disk / "run"
    learn_sequence(fresh(), STREAM[:1], args, folder)
    index = (folder / INDEX).read_bytes()
    size = os.statvfs(small_disk)
    (small_disk / "other").write_bytes(b"0" * (size.f_bavail * size.f_frsize - 60_000))
    # Where the pictures are larger than usual, it is those of the finished task, drawn anew, that find no room.
    text = (
        r"(Task 'has-b'|The results so far) could not be written to .*: No space left on device. "
        r"The finished tasks \['has-a'\] are in .* can be loaded"
    )
    with pytest.raises(OSError, match=text):
        learn_sequence(fresh(), STREAM, args, folder)
    assert (folder / INDEX).read_bytes() == index
    assert AtlasModel.from_pretrained(folder).tasks == ["has-a"]
    fill(small_disk)
    with pytest.raises(OSError, match="No space left on device.*what it holds can still be loaded"):
        learn_sequence(fresh(), STREAM, args, folder)
    (small_disk / "other").unlink()
    assert len(learn_sequence(fresh(), STREAM, args, folder)["matrix"]) == 2


def test_a_read_only_folder(fresh, args, small_disk):
    folder = small_disk / "run"
    learn_sequence(fresh(), STREAM[:1], args, folder)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match="cannot be written .Read-only file system.. Nothing was learned, and what it"):
        learn_sequence(fresh(), STREAM, args, folder)
    assert AtlasModel.from_pretrained(folder).tasks == ["has-a"]


def test_a_write_that_fails(fresh, args, tmp_path, monkeypatch):
    """Where nothing can be mounted: the operating system says no at the last moment."""

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    learn_sequence(fresh(), STREAM[:1], args, tmp_path)
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: full(a, b) if "has-b" in str(b) else replace(a, b))
    with pytest.raises(OSError, match="'has-b' could not be written to .*run the same again: it goes on from there"):
        learn_sequence(fresh(), STREAM, args, tmp_path)
    assert AtlasModel.from_pretrained(tmp_path).tasks == ["has-a"]
    assert not list(tmp_path.rglob("*.partial"))
    monkeypatch.undo()
    assert len(learn_sequence(fresh(), STREAM, args, tmp_path)["matrix"]) == 2


def test_a_file_is_no_folder(fresh, args, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file cannot be written .File exists.. Nothing was learned"):
        learn_sequence(fresh(), STREAM, args, tmp_path / "file")


def test_other_data_are_refused(fresh, args, tmp_path):
    learn_sequence(fresh(), STREAM[:1], args, tmp_path, description={"sizes": (1, 2)})
    learn_sequence(fresh(), STREAM[:1], args, tmp_path, description={"sizes": (1, 2)})
    with pytest.raises(ValueError, match=r"was learned with sizes=\[1, 2\] \(now \[1, 3\]\)"):
        learn_sequence(fresh(), STREAM, args, tmp_path, description={"sizes": (1, 3)})
    fewer = [(spec, splits("a", train=32)) for spec, _ in STREAM[:1]]
    with pytest.raises(ValueError, match=r"holds \['has-a'\], learned from other data"):
        learn_sequence(fresh(), fewer, args, tmp_path)
    (tmp_path / "results.json").write_text('{"tasks": [], "matrix": [], "settings": {}, "description": {}}')
    with pytest.raises(AtlasFormatError, match=r"results.json is of \[\], atlas.json of \['has-a'\]"):
        learn_sequence(fresh(), STREAM, args, tmp_path)


def test_a_task_saved_again_is_whole_at_every_moment(tmp_path, monkeypatch):
    """Each file is replaced at once, so that a process killed between two of them leaves a whole set."""
    task, seen, replace = tmp_path / "vqa", [], os.replace

    def save(files):
        with Owned(tmp_path).replacing(task) as temporary:
            temporary.mkdir()
            for name in files:
                (temporary / name).write_text(name)

    def looking(source, target):
        replace(source, target)
        seen.append({path.name for path in task.iterdir()})

    save(["a", "b", "old"])
    monkeypatch.setattr(os, "replace", looking)
    save(["a", "b"])
    assert seen and all({"a", "b"} <= names for names in seen)
    assert {path.name for path in task.iterdir()} == {"a", "b"}
    assert {p.name for p in tmp_path.iterdir()} == {"vqa", HOME}
