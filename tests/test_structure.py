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
