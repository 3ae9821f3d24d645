"""What setup.cfg says of other packages: what is imported is listed, and both pinned sets fit the ranges."""

import ast
import configparser
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import atlas_hf

ROOT = Path(__file__).parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
ELSEWHERE = {"adapters"}  # imported in an environment of its own


def requirements(text):
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(found.name): found for found in map(Requirement, lines)}


NEEDED = requirements(SETUP["options"]["install_requires"])
DEMO = requirements(SETUP["options.extras_require"]["demo"])
TEST = requirements(SETUP["options.extras_require"]["test"])


def imported_packages():
    for path in Path(atlas_hf.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module.partition(".")[0]


def pins(name, python):
    lines = requirements("")
    for line in (ROOT / name).read_text().splitlines():
        for key, pin in requirements(line).items():
            if pin.marker is None or pin.marker.evaluate({"python_version": python}):
                assert key not in lines, f"{key} is pinned twice for Python {python}"
                lines[key] = Version(str(pin.specifier).removeprefix("=="))
    return lines


@pytest.mark.skipif(sys.version_info < (3, 11), reason="importlib.metadata finds only some packages by their modules")
def test_what_is_imported_is_listed_and_what_is_listed_is_imported():
    distributions = packages_distributions()
    names = set(imported_packages()) - sys.stdlib_module_names - {"atlas_hf"} - ELSEWHERE
    assert {canonicalize_name(distributions[name][0]) for name in names} == {*NEEDED, *DEMO}


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_pinned_set_is_within_the_ranges(python):
    pinned = pins("constraints.txt", python)
    for name, needed in (NEEDED | DEMO | TEST).items():
        assert pinned[name] in needed.specifier, needed


def test_the_oldest_set_holds_every_lower_bound():
    pinned = pins("constraints-oldest.txt", "3.10")
    for name, needed in (NEEDED | DEMO).items():
        if name == "torch":  # chosen in the Makefile
            continue
        bound = next(Version(part.version) for part in needed.specifier if part.operator == ">=")
        assert pinned[name] in needed.specifier and pinned[name].release[: len(bound.release)] == bound.release, needed
