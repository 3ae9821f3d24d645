"""The demo as a Space: its files, and how they get to the Hub over real HTTP."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from atlas_hf import hub
from atlas_hf.cli import main
from atlas_hf.demo import DIGITS_MODEL, DIGITS_MODEL_ID
from atlas_hf.demo.space import APP, CARD, REQUIREMENTS, package_files, space_files
from shared.hub_models import FAST, FAULTS, QUIET, learn
from shared.hub_server import loopback_hub

pytestmark = QUIET
ROOT = Path(__file__).parents[2]
SPACE, MODEL = "user/demo", "user/digits"
FILES = {"app.py": b"print('hello')\n", "README.md": b"---\nsdk: gradio\n---\n", "data/a.safetensors": b"0" * 20_000}


@pytest.fixture
def server(tmp_path):
    with loopback_hub(tmp_path / "home") as server:
        yield server


def pinned(name: str) -> str:
    """What `constraints.txt` says for Python 3.11."""
    lines = (ROOT / "constraints.txt").read_text().lower().splitlines()
    pins = [line.removesuffix('; python_version >= "3.11"') for line in lines]
    return dict(pin.split("==") for pin in ["python==3.11", *pins] if "==" in pin and ";" not in pin)[name.lower()]


def push(server, files=FILES, **options):
    return hub.fill_space(
        files, SPACE, "Update the demo", endpoint=server.url, token="hf_write", retry=FAST, **options
    )


def on_hub(server, repo_id=SPACE):
    repo = server.store.repos["space", repo_id]
    return {path: server.store.read(entry) for path, entry in repo.resolve("main").tree.items()}


def commits(server):
    return [commit.title for commit in server.store.repos["space", SPACE].history("main")]


# What a Space holds --------------------------------------------------------------------------------------------------


def test_the_repository_holds_the_space_of_the_shipped_model():
    for name, content in space_files(versions=pinned).items():
        assert (ROOT / "spaces_demo" / name).read_bytes() == content, (
            f"python -m atlas_hf.demo.space spaces_demo: {name}"
        )


def test_a_space_names_its_model_and_the_versions_in_use():
    files = {name: content.decode() for name, content in space_files(MODEL).items()}
    assert f'launch("{MODEL}")' in files[APP]
    assert (
        f"models:\n- {MODEL}\n" in files[CARD] and "sdk: gradio\n" in files[CARD] and f"app_file: {APP}" in files[CARD]
    )
    assert f"sdk_version: {version('gradio')}\n" in files[CARD]
    assert f"python_version: '{sys.version_info.major}.{sys.version_info.minor}'\n" in files[CARD]
    assert f"peft=={version('peft')}\n" in files[REQUIREMENTS] and "gradio" not in files[REQUIREMENTS]
    assert "+" not in files[REQUIREMENTS]


def test_a_space_carries_the_package():
    carried = package_files()
    data = {"atlas_hf/demo/parts.html", "atlas_hf/demo/style.css", "atlas_hf/streams/digits/digits_vilt/config.json"}
    assert {"atlas_hf/__init__.py", *data} <= set(carried)
    assert not any("__pycache__" in path for path in carried)


# How it gets there ---------------------------------------------------------------------------------------------------


def test_a_new_space_is_one_commit(server):
    filled = push(server)
    assert filled.new == tuple(FILES) and filled.kept == ()
    repo = server.store.repos["space", SPACE]
    assert repo.sdk == "gradio" and repo.branches["main"] == filled.commit
    assert commits(server) == ["Update the demo", "initial commit"]
    assert {path: content for path, content in on_hub(server).items() if path in FILES} == FILES


def test_pushed_again_it_sends_nothing(server):
    first = push(server)
    server.clear()
    again = push(server)
    assert again.new == () and again.commit == first.commit
    assert {entry.method for entry in server.log} == {"GET"} and server.bytes_in() == 0


def test_only_what_changed_is_sent(server):
    push(server)
    server.clear()
    assert push(server, FILES | {"app.py": b"print('new')\n"}).new == ("app.py",)
    assert not server.requests("^PUT ") and server.bytes_in("POST .*/commit/") < 1000
    assert on_hub(server)["data/a.safetensors"] == FILES["data/a.safetensors"]


def test_the_card_that_the_hub_puts_into_a_new_space_is_replaced(server):
    server.store.create("space", SPACE, sdk="gradio")
    first = server.store.repos["space", SPACE].resolve("main")
    first.tree["README.md"] = server.store.add_blob(b"made by the Hub")
    assert push(server).kept == () and on_hub(server)["README.md"] == FILES["README.md"]


def test_an_existing_space_keeps_what_is_not_ours(server):
    server.store.create("space", SPACE, sdk="gradio")
    server.foreign_commit(SPACE, {"notes.txt": b"mine"}, kind="space")
    push(server)
    assert on_hub(server)["notes.txt"] == b"mine" and on_hub(server)["app.py"] == FILES["app.py"]


@pytest.mark.parametrize("pushed_before", [True, False])
def test_files_of_others_are_not_overwritten(server, pushed_before):
    if pushed_before:
        push(server)
    else:
        server.store.create("space", SPACE, sdk="gradio")
    server.foreign_commit(SPACE, {"app.py": b"theirs"}, kind="space")
    server.clear()
    with pytest.raises(hub.PushConflictError, match=r"user/demo was changed by others .*\['app.py'\]. Nothing was"):
        push(server)
    assert on_hub(server)["app.py"] == b"theirs" and server.bytes_in() == 0


def test_a_card_edited_on_the_hub_stays_also_after_later_pushes(server, caplog):
    push(server)
    server.foreign_commit(SPACE, {"README.md": b"theirs"}, kind="space")
    filled = push(server, FILES | {"app.py": b"print(2)\n"})
    assert (filled.new, filled.kept) == (("app.py",), ("README.md",))
    assert "user/demo: left as others made them: README.md" in caplog.text
    assert push(server, FILES | {"app.py": b"print(3)\n"}).kept == ("README.md",)
    assert on_hub(server)["README.md"] == b"theirs"


@pytest.mark.parametrize("kept", [True, False])
def test_a_space_of_an_earlier_version_is_known_by_its_note(server, kept):
    server.store.create("space", SPACE, sdk="gradio")
    note = "atlas-space-files (left README.md as others made it)" if kept else "atlas-space-files"
    old = {"app.py": b"print('old')", "README.md": b"old"}
    server.store.commit(server.store.repos["space", SPACE], old, "Update the demo", note)
    filled = push(server)
    assert filled.kept == (("README.md",) if kept else ())
    assert on_hub(server)["README.md"] == (b"old" if kept else FILES["README.md"])
    assert on_hub(server)["app.py"] == FILES["app.py"]
    assert push(server).commit == filled.commit, "found again by the note of this version"


@pytest.mark.parametrize("name", ["commit reply lost", "commit 503", "commit 412", "upload cut", "create lost"])
def test_after_a_fault_there_is_one_commit(server, name):
    server.fault(**FAULTS[name])
    filled = push(server)
    assert filled.new == tuple(FILES) and commits(server) == ["Update the demo", "initial commit"]
    assert {path: content for path, content in on_hub(server).items() if path in FILES} == FILES


def test_a_commit_of_others_in_between(server):
    push(server)
    foreign = {"call": lambda: server.foreign_commit(SPACE, {"notes.txt": b"mine"}, kind="space")}
    server.fault(**FAULTS["foreign commit"] | foreign)
    push(server, FILES | {"app.py": b"print('new')\n"})
    assert commits(server) == ["Update the demo", "a foreign commit", "Update the demo", "initial commit"]
    assert on_hub(server)["notes.txt"] == b"mine" and on_hub(server)["app.py"] == b"print('new')\n"


@pytest.mark.parametrize("token", ["hf_nobody", "hf_read", "hf_other"])
def test_a_bad_token_fails_at_once(server, token):
    with pytest.raises(hub.AccessError, match="(?s)could not get write access to user/demo: .*hf auth login"):
        hub.fill_space(FILES, SPACE, "Update the demo", endpoint=server.url, token=token, retry=FAST)
    assert ("space", SPACE) not in server.store.repos


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command_needs_a_pushed_model(server, tmp_path, capsys):
    folder = learn(tmp_path / "model", "vqa")
    assert main(["push-space", str(folder), SPACE]) == 2
    assert f"Push it (atlas-hf push {folder} REPO), and name it: --repo-id REPO" in capsys.readouterr().err
    assert main(["push-space", "user/nothing", SPACE]) == 2
    assert "could not download user/nothing" in capsys.readouterr().err
    hub.push(folder, MODEL, retry=FAST)
    learn(folder, "snli")
    assert main(["push-space", str(folder), SPACE, "--repo-id", MODEL]) == 2
    assert f"{MODEL} lacks snli of {folder}. Push first" in capsys.readouterr().err
    assert ("space", SPACE) not in server.store.repos
    hub.push(folder, MODEL, retry=FAST)
    assert main(["push-space", str(folder), SPACE, "--repo-id", MODEL]) == 0
    assert f'launch("{MODEL}")'.encode() in on_hub(server)[APP]
    capsys.readouterr()
    assert main(["push-space", MODEL, SPACE]) == 0
    assert "no files changed" in capsys.readouterr().out


def test_the_shipped_model_needs_no_repository(server):
    assert main(["push-space", DIGITS_MODEL_ID, SPACE]) == 0
    held = on_hub(server)
    assert held[APP] == (ROOT / "spaces_demo" / APP).read_bytes()
    assert held["atlas_hf/demo/digits_model/atlas.json"] == (DIGITS_MODEL / "atlas.json").read_bytes()
