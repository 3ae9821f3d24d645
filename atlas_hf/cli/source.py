"""Names of a module, read from its source instead of imported.

The options of `atlas-hf learn` are the fields of `AtlasTrainingArguments` and `AtlasConfig`. Importing these, and with
them torch, takes seconds; reading what stands in their files takes a tenth of one. What cannot be known in this way
(a default that asks for a GPU) is left open; `tests/cli/test_learn_options.py` holds the rest to the imported classes.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import Field, field, make_dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec, resolve_name, spec_from_file_location
from pathlib import Path
from types import new_class
from typing import Any

PACKAGES = ("atlas_hf", "transformers")  # whose files are read; other names of other libraries are not known


def unknown() -> None:
    """Stands for a value, or makes a default, that only importing would tell."""


class Source(dict[str, Any]):
    """The names at the top of a module, each made when it is asked for, as an item or an attribute.

    Constants and expressions of them are themselves, enums and dataclasses are stand-ins with the same members or
    fields, other classes have their constants only. A name that cannot be made is a `KeyError` or `NameError`.

    Args:
        module: its full name, in one of `PACKAGES`.
    """

    def __init__(self, module: str) -> None:
        super().__init__()
        path = _file(module)
        if path is None:
            raise ModuleNotFoundError(f"There is no module {module}.", name=module)
        self._package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        self._nodes = dict(_definitions(ast.parse(path.read_text(encoding="utf-8")).body))

    def __missing__(self, name: str) -> Any:
        made = self[name] = self._made(self._nodes[name])
        return made

    def __getattr__(self, name: str) -> Any:
        """As an item."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def _made(self, node: ast.AST) -> Any:
        if isinstance(node, ast.ClassDef):
            return self._class(node)
        if isinstance(node, ast.FunctionDef):
            return self._function(node)
        if isinstance(node, ast.ImportFrom):
            return self._imported(resolve_name("." * node.level + (node.module or ""), self._package), node.names[0])
        if isinstance(node, ast.Import):
            return import_module(node.names[0].name) if node.names[0].name in sys.stdlib_module_names else unknown
        return self._value(node)

    def _value(self, node: ast.AST) -> Any:
        assert isinstance(node, ast.expr)
        return eval(compile(ast.Expression(node), "<source>", "eval"), {}, self)  # noqa: S307 (of files that importing would run as well)

    def _known(self, node: ast.AST) -> Any:
        try:
            return self._value(node)
        except (NameError, AttributeError, TypeError):
            return unknown

    def _imported(self, module: str, alias: ast.alias) -> Any:
        top, inner = module.partition(".")[0], f"{module}.{alias.name}"
        if top in PACKAGES:
            return source(inner) if _file(inner) else source(module)[alias.name]
        if top in sys.stdlib_module_names:
            return getattr(import_module(module), alias.name)
        raise KeyError(alias.name)

    def _function(self, node: ast.FunctionDef) -> Callable[..., Any]:
        """One that only returns an expression of names of its module."""
        last = node.body[-1]
        if len(node.body) > 1 or node.args.args or not isinstance(last, ast.Return) or last.value is None:
            raise KeyError(node.name)
        value = last.value
        return lambda: self._value(value)

    def _class(self, node: ast.ClassDef) -> type:
        bases = tuple(base for base in map(self._known, node.bases) if isinstance(base, type))
        if any(ast.unparse(one).startswith("dataclass") for one in node.decorator_list):
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
            return make_dataclass(node.name, [self._field(one) for one in fields], bases=bases)
        values = ((name, self._known(one)) for name, one in _definitions(node.body) if isinstance(one, ast.expr))
        constants = {name: value for name, value in values if value is not unknown}

        def fill(namespace: dict[str, Any]) -> None:
            for name, value in constants.items():
                namespace[name] = value  # noqa: PERF403 (an enum's namespace takes them one by one)

        return new_class(node.name, bases, exec_body=fill)

    def _field(self, node: ast.AnnAssign) -> tuple[str, Any, Field]:
        """Name, type (`str` for one that is not known, as of any word of a command line) and default with metadata."""
        kind = self._known(node.annotation)
        settings = self._settings(node.value)
        name = ast.unparse(node.target)
        return name, str if kind is unknown or isinstance(kind, str) else kind, field(**settings)

    def _settings(self, value: ast.expr | None) -> dict[str, Any]:
        if value is None:
            return {}
        if not (isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field")):
            return {"default": self._known(value)}
        given = {str(word.arg): word.value for word in value.keywords}
        about = given.pop("metadata", None)
        pairs = zip(about.keys, about.values, strict=True) if isinstance(about, ast.Dict) else ()
        metadata = {self._known(key): self._known(text) for key, text in pairs if key is not None}
        known = {key: text for key, text in metadata.items() if text is not unknown}
        return {word: self._known(node) for word, node in given.items()} | {"metadata": known}


@cache
def source(module: str) -> Source:
    """A module's names; its file is read once."""
    return Source(module)


@cache
def hf_argument_parser() -> Callable[..., Any]:
    """The `HfArgumentParser` of transformers, from its file: that needs nothing else of transformers."""
    spec = spec_from_file_location("hf_argparser", _file("transformers.hf_argparser"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    parser: Callable[..., Any] = module.HfArgumentParser
    return parser


def _file(module: str) -> Path | None:
    """The file of a module, found without importing the packages that it is in."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent.joinpath(*rest)
    found = (place / "__init__.py", place.with_suffix(".py"))
    return next((path for path in found if path.is_file()), None)


def _definitions(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """Each name that statements define, and what it is: a class, a function, an import of one name, an expression."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name, node
        elif isinstance(node, ast.Import):
            yield from ((one.asname or one.name, ast.Import([one])) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((one.asname or one.name, ast.ImportFrom(node.module, [one], node.level)) for one in node.names)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value
        elif isinstance(node, (ast.If, ast.Try)):
            yield from _definitions([*node.body, *node.orelse])
