"""The options of `AtlasTrainingArguments`, read from source files: importing it, and with it torch, takes seconds.

Read are the annotations, literal defaults and help of its dataclass fields: enough to show help and to find wrong
arguments. Right ones are read again by the parser of the class itself; `tests/cli/test_learn_options.py` holds this
one to it.
"""

import ast
from dataclasses import Field, field, make_dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

# Choices that transformers computes.
COMPUTED = {"trainer_log_levels.keys()": ("detail", "debug", "info", "warning", "error", "critical", "passive")}


def hf_argument_parser() -> Any:
    """The class `HfArgumentParser` of transformers, from its file, which needs nothing else of transformers."""
    return run_path(str(_of_transformers("hf_argparser")))["HfArgumentParser"]


def training_options() -> type:
    """A dataclass with the fields of `AtlasTrainingArguments`, to make an `HfArgumentParser` of."""
    types: dict[str, Any] = {"bool": bool, "int": int, "float": float, "dict": dict}
    fields: dict[str, tuple[str, Any, Field]] = {}
    ours = Path(__file__).parents[1] / "training" / "arguments.py"
    for path in (*map(_of_transformers, ("debug_utils", "trainer_utils", "training_args")), ours):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            match node:
                case ast.ClassDef(name=name, bases=[ast.Name("ExplicitEnum")], body=body):
                    members = [one for one in body if isinstance(one, ast.Assign)]
                    values = [(ast.unparse(one.targets[0]), _value(one.value)) for one in members]
                    types[name] = Enum(name, values)
                case ast.ClassDef(name="TrainingArguments" | "AtlasTrainingArguments", body=body):
                    found = (_field(one, types) for one in body if isinstance(one, ast.AnnAssign))
                    fields |= {one[0]: one for one in found}
    return make_dataclass("TrainingOptions", fields.values())


def _of_transformers(module: str) -> Path:
    """The file of a module, found without importing anything."""
    package = find_spec("transformers")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).with_name(f"{module}.py")


def _field(node: ast.AnnAssign, types: dict[str, Any]) -> tuple[str, Any, Field]:
    """Of `name: type = field(default=..., metadata={...})`."""
    words = {word.arg: word.value for word in getattr(node.value, "keywords", ())}
    about = words.get("metadata")
    texts = zip(about.keys, about.values, strict=True) if isinstance(about, ast.Dict) else ()
    default = _value(words.get("default", ast.Constant(None)))
    metadata = {_value(key): _value(text) for key, text in texts if key is not None}
    return ast.unparse(node.target), _type(node.annotation, types), field(default=default, metadata=metadata)


def _type(node: ast.expr, types: dict[str, Any]) -> Any:
    """`str`, which takes any word, for what is not among `types`."""
    match node:
        case ast.BinOp(one, ast.BitOr(), other):
            return _type(one, types) | _type(other, types)
        case ast.Subscript(ast.Name("list"), item):
            return list[_type(item, types)]  # type: ignore[misc]  # made at run time
        case ast.Subscript(outer):
            return _type(outer, types)
        case ast.Constant(None):
            return None
    return types.get(ast.unparse(node), str)


def _value(node: ast.expr) -> Any:
    """None for what only importing would tell, such as a default that asks for a GPU."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return COMPUTED.get(ast.unparse(node))
