"""What the design promises of the source beside the order of imports: its rules, and no code that asks for a task."""

import ast
from pathlib import Path

import pytest

import atlas_hf

ROOT = Path(atlas_hf.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_source_keeps_the_rules(path):
    text = path.read_text()
    assert path.stem not in ("utils", "helpers", "common")
    for word in ("except Exception", "strict=False", "TODO", "FIXME"):
        assert word not in text, word


def test_no_code_path_asks_for_a_task_name():
    from atlas_hf.streams.digits import DOWNSTREAM, ORDERS

    names = {*DOWNSTREAM, *ORDERS["multi-first"]}
    for path in FILES:
        if "streams" not in path.parts:
            tree = ast.parse(path.read_text())
            compared = {
                constant.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Compare)
                for constant in ast.walk(node)
                if isinstance(constant, ast.Constant)
            }
            assert not names & compared, path


# What removes, moves or copies over something: the room `folder` alone does.
REPLACING = {
    "rmtree", "unlink", "remove_tree", "rotate_checkpoints", "rmdir", "removedirs", "rename", "renames", "copytree",
    "copy2", "copyfileobj", "copymode", "truncate", "symlink_to", "hardlink_to", "symlink",
}  # fmt: skip
OF_A_MODULE = {"os": {"remove", "replace", "link"}, "shutil": {"move", "copy", "chown"}}
# By the argument that says where they write: a temporary path that `folder` gave, which its name says.
WRITING = {
    "write_text": None,
    "write_bytes": None,
    "savefig": 0,
    "copyfile": 1,
    "to_csv": 0,
    "imsave": 0,
    "save_file": 1,
}
# A path that nothing else can be at, or that is not a file.
FRESH = {
    "benchmark/learning/run.py": {"_log(output, key, os.getpid())"},
    "hub/folder.py": {"kept / source.name"},
    "demo/views.py": {"file"}, "streams/digits/scenes.py": {"buffer"},
}  # fmt: skip


def calls(path):
    """Every call in a file, with the name of what is called and what it is called on."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            yield node, name, ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""


def argument(node, place):
    """As it stands in the source; None if it is not there."""
    return ast.unparse(node.args[place]) if len(node.args) > place else None


def written(node, name, owner):
    """Where a call writes, as it stands in the source; None if it does not."""
    if name in WRITING:
        return owner if WRITING[name] is None else argument(node, WRITING[name])
    if name == "open" and owner not in ("Image", "self.demo", "zipfile"):  # `Path.open(mode)`, `open(path, mode)`
        mode = next((ast.unparse(key.value) for key in node.keywords if key.arg == "mode"), None)
        mode = (mode or argument(node, 0 if owner else 1) or "'r'").strip("'\"")
        writes = set(mode) <= set("rwaxbt+") and set(mode) & set("wax+")
        return (owner or argument(node, 0)) if writes else None
    if name == "replace" and len(node.args) == 1 and not node.keywords:  # `str.replace` takes two
        return f"{owner}.replace"
    if (
        name == "save"
        and node.args
        and owner.split(".")[0].split("[")[0] in ("image", "picture", "row", "small", "Image")
    ):
        return argument(node, 0)
    return None


def test_only_the_folder_room_removes_and_replaces():
    """And others write to a temporary path that it gave."""
    for path in FILES:
        inside = path.relative_to(ROOT)
        if "folder" in inside.parts[:1]:
            continue
        for node, name, owner in calls(path):
            where = f"{inside}:{node.lineno} {ast.unparse(node)}"
            assert name not in REPLACING and name not in OF_A_MODULE.get(owner, ()), where
            place = written(node, name, owner)
            assert place in {None, "temporary"} | FRESH.get(inside.as_posix(), set()), where


def is_seen(file, text):
    """Would the test above complain about it?"""
    file.write_text(text)
    ((node, name, owner),) = calls(file)
    place = written(node, name, owner)
    return name in REPLACING or name in OF_A_MODULE.get(owner, ()) or place not in (None, "temporary")


@pytest.mark.parametrize(
    "text",
    [
        "os.replace(a, b)", "a.replace(b)", "shutil.move(a, b)", "open(a, 'w')", "a.open('w')", "a.open(mode='ab')",
        "shutil.copyfile(a, b)", "copyfile(a, b)", "a.write_bytes(b'')", "a.unlink()", "os.remove(a)", "a.rename(b)",
        "figure.savefig(a)", "open(a, mode='r+')",
    ],
)  # fmt: skip
def test_what_would_replace_is_seen(tmp_path, text):
    assert is_seen(tmp_path / "code.py", text)


@pytest.mark.parametrize(
    "text", ["a.replace('b', 'c')", "open(a)", "a.open('rb')", "replace(a, b=1)", "temporary.open('w')"]
)
def test_what_reads_is_not_meant(tmp_path, text):
    assert not is_seen(tmp_path / "code.py", text)
