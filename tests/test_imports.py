"""What importing the package loads, and that PEFT knows ATLAS whichever is imported first."""

import subprocess
import sys

import pytest

KNOWN = "from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING as known; assert 'ATLAS' in known"
RACE = """
import threading
import atlas_hf

def by_peft():
    from peft import get_peft_config
    found.append(get_peft_config({"peft_type": "ATLAS", "r": 3}).r)

def by_name():
    found.append(atlas_hf.AtlasConfig(r=4).r)

def at_once(call):
    start.wait()
    call()

found, start = [], threading.Barrier(2)
threads = [threading.Thread(target=at_once, args=(call,)) for call in (by_peft, by_name)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert sorted(found) == [3, 4], found
"""


def run(code):
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_importing_loads_nothing_that_takes_long():
    heavy = ("torch", "transformers", "peft", "datasets", "matplotlib")
    run(f"import sys, atlas_hf; assert not hasattr(atlas_hf, 'nothing'); assert not sys.modules.keys() & {{*{heavy}}}")


@pytest.mark.parametrize("first", ["atlas_hf, peft", "peft, atlas_hf", "atlas_hf.tuner", "atlas_hf.model"])
def test_peft_knows_atlas(first):
    run(f"import {first}; {KNOWN}")


def test_two_threads_import_at_once():
    """Each would wait for what the other loads, and Python would give one of them half a module."""
    run(RACE)


def test_names_and_rooms():
    run(
        "from atlas_hf import *; import atlas_hf; AtlasConfig(r=1); assert 'fusion' not in globals(); "
        "atlas_hf.fusion.fuse, atlas_hf.metrics.ContinualLearning, atlas_hf.tuner.AtlasLayer, atlas_hf.tasks.TaskSpec"
    )
