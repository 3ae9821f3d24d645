"""Pytest plugin: PEFT's tests with `AtlasConfig` instead of PEFT's configurations, on models made here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import peft
import pytest
import stand_ins
from _pytest.mark.structures import ParameterSet
from files import CASES, ENDINGS, FILES, SKIPPED, Ending
from huggingface_hub.errors import OfflineModeIsEnabled
from peft import LoraConfig, PeftConfig

from atlas_hf import AtlasConfig

stand_ins.load_from_here()
ENDING = pytest.StashKey[Ending | None]()


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """What PEFT's tests are parametrised by is replaced before the tests are made from it."""
    if module_path.name not in FILES:  # pytest asks for every file beside those that are run
        return
    import_module("tests.testing_utils").hub_online_once = lambda _: nullcontext()
    module = import_module(f"tests.{module_path.stem}")
    for name, rows in CASES.get(module_path.stem, {}).items():
        getattr(module, name)[:] = rows
    for function in _tests(module):
        for mark in getattr(function, "pytestmark", []):
            if mark.name == "parametrize" and isinstance(mark.args[1], (list, tuple)):
                found = [kept for row in mark.args[1] for kept in _row(row)]
                if len(found) != len(mark.args[1]):
                    mark.kwargs.pop("ids", None)
                object.__setattr__(mark, "args", (mark.args[0], found))  # frozen, and some lists are tuples
    if hasattr(module, "LoraConfig"):
        module.LoraConfig = stand_ins.AsLora


def _tests(module: ModuleType) -> list[Any]:
    owners = [module, *(value for value in vars(module).values() if inspect.isclass(value))]
    return [value for owner in owners for name, value in vars(owner).items() if name.startswith("test_")]


def _row(row: Any) -> list[Any]:
    """A row of parameters: as it is, with ATLAS for LoRA, or none if it is of another method or LoRA's own."""
    values = row.values if isinstance(row, ParameterSet) else row if isinstance(row, tuple) else (row,)
    if not any(_is_config(value) for value in values) or any(_is_atlas(value) for value in values):
        return [row]
    if any(_is_config(value) and not _is_lora(value) for value in values):
        return []
    try:
        found = tuple(_value(value) for value in values)
    except stand_ins.LoraOnlyError:
        return []
    if isinstance(row, ParameterSet):
        return [row._replace(values=found)]
    return [found if isinstance(row, tuple) else found[0]]


def _value(value: Any) -> Any:
    if isinstance(value, LoraConfig):
        return stand_ins.as_atlas(value)
    if value is LoraConfig:
        return AtlasConfig
    return stand_ins.translated(value) if isinstance(value, dict) else value


def _is_config(value: Any) -> bool:
    return isinstance(value, PeftConfig) or (inspect.isclass(value) and issubclass(value, PeftConfig))


def _is_atlas(value: Any) -> bool:
    return isinstance(value, AtlasConfig) or value is AtlasConfig


def _is_lora(value: Any) -> bool:
    return type(value) is LoraConfig or value is LoraConfig


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only the tests that were given an `AtlasConfig`, or name LoRA's for want of a method in general."""
    mine = [item for item in items if _concerns_a_tuner(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in mine])
    items[:] = mine
    for item in mine:
        item.stash[ENDING] = next((end for pattern, end in ENDINGS.items() if re.search(pattern, item.nodeid)), None)
        for pattern, reason in SKIPPED.items():
            if re.search(pattern, item.nodeid):
                item.add_marker(pytest.mark.skip(reason=reason))


def _concerns_a_tuner(item: Any) -> bool:
    values = getattr(getattr(item, "callspec", None), "params", {}).values()
    if any(_is_config(value) for value in values):
        return any(_is_atlas(value) for value in values)
    source = _source(item.function) + (_source(item.cls) if item.cls else "")
    others = [name for name in vars(peft) if name.endswith("Config") and name not in ("LoraConfig", "PeftConfig")]
    return "LoraConfig" in source and not any(name in _source(item.function) for name in others)


_source = cache(inspect.getsource)  # of a class it parses the whole file


@contextmanager
def _until_what_does_not_apply(item: pytest.Item) -> Iterator[None]:
    """A test of `ENDINGS` is skipped at the place where it does what does not apply."""
    try:
        yield
    except (NotImplementedError, ValueError, OSError, OfflineModeIsEnabled) as error:
        ending = item.stash[ENDING]
        if ending and re.search(ending.words, f"{type(error).__name__}: {error}"):
            pytest.skip(ending.reason)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Around each test."""
    with _until_what_does_not_apply(pyfuncitem):
        result = yield
    if ending := pyfuncitem.stash[ENDING]:
        pytest.fail(f"Runs to its end. Take it out of ENDINGS in files.py, where its reason is: {ending.reason}")
    return result


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Iterator[None]:
    """Around what each test is given."""
    with _until_what_does_not_apply(request._pyfuncitem):
        return (yield)
