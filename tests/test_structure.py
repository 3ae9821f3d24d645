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


# `Path.write_text` goes to a temporary path that `folder` gave, which the name of the variable says.
REPLACING = {"rmtree", "unlink", "rotate_checkpoints", "rmdir", "removedirs", "copytree", "move"}


def test_only_the_folder_room_removes():
    """And files are written in one form, to a temporary path that it gave."""
    for path in FILES:
        if "folder" in path.relative_to(ROOT).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
                name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
                assert name not in REPLACING, f"{path}:{node.lineno} {name}"
                if name in ("write_text", "write_bytes"):
                    assert ast.unparse(node.func.value) == "temporary", f"{path}:{node.lineno} {name}"
                if name == "savefig":
                    assert ast.unparse(node.args[0]) == "temporary", f"{path}:{node.lineno} {name}"
