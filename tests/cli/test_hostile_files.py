"""C13, and its kind: every command answers a folder that asks for too much with one sentence, at once."""

import re
import resource
import shutil
import subprocess
import sys
import time
from importlib import import_module

import pytest

from atlas_hf.cli import main
from atlas_hf.demo import DIGITS_MODEL
from atlas_hf.demo.places import home
from atlas_hf.folder import CONFIG, INDEX, RESULTS, SPEC, WEIGHTS
from shared.benchmark_cells import alone, in_order
from shared.hostile import CASES, brackets, small_lists, sparse, write

TASK = "vqa"
COMMANDS = {
    "info": ["info", "{}"],
    "info as JSON": ["info", "{}", "--json"],
    "card": ["card", "{}"],
    "evaluate": ["evaluate", "{}", "--tasks", TASK],
    "predict": ["predict", "{}", "--task", TASK, "--images", "none.png", "--text", "x"],
    "prune": ["prune", "{}", "--tasks", TASK, "--output", "{}-pruned"],
    "push": ["push", "{}", "me/digits"],
}
READS = {
    "info": (INDEX, RESULTS), "info as JSON": (INDEX, RESULTS), "card": (INDEX, RESULTS, SPEC, CONFIG),
    "evaluate": (INDEX, RESULTS, SPEC, CONFIG, WEIGHTS), "predict": (INDEX, SPEC, CONFIG, WEIGHTS),
    "prune": (INDEX, RESULTS, SPEC, CONFIG, WEIGHTS), "push": (INDEX,),  # which it reads before it asks the Hub
}  # fmt: skip
SECONDS, MEGABYTES = 2, 200


@pytest.fixture(scope="module", autouse=True)
def imported():
    """What a command imports takes seconds, and is no part of what is timed."""
    for name in (
        "atlas_hf.training",
        "atlas_hf.cli.stream_tasks",
        "atlas_hf.streams.digits.tasks",
        "sklearn.datasets",
    ):
        import_module(name)


@pytest.fixture
def digits(tmp_path):
    return shutil.copytree(DIGITS_MODEL, tmp_path / "digits")


def words(command, folder):
    return [word.format(folder) for word in COMMANDS[command]]


@pytest.mark.parametrize("case", CASES)
def test_c13_every_command_refuses_it_in_one_line(digits, case, capsys):
    write(digits, TASK, case)
    file, _, error = CASES[case]
    for command, read in READS.items():
        if file not in read:
            continue
        start = time.process_time()
        assert main(words(command, digits)) == 2, command
        assert time.process_time() - start < SECONDS, command
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and len(said) < 1500 and re.search(error, said, re.DOTALL | re.I), (command, said)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] != WEIGHTS])
def test_c13_the_demo_refuses_it_in_one_line(digits, case):
    write(digits, TASK, case)
    start = time.process_time()
    with pytest.raises(ValueError, match=f"(?is){CASES[case][2]}") as caught:
        home(str(digits))
    assert "\n" not in str(caught.value) and time.process_time() - start < SECONDS


@pytest.mark.parametrize("spoil", [sparse, small_lists, brackets])
def test_c13_cells_of_a_benchmark(tmp_path, capsys, spoil):
    for cell in [*in_order("atlas", 0.1), *alone()]:
        cell.write(tmp_path)
    spoil(next((tmp_path / "cells").glob("*/*/*.json")))
    assert main(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and re.search(r"seed-\d.json.*(are not read|not JSON of atlas_hf)", said)


RUN = """
import sys
from atlas_hf.cli import main
try:
    sys.exit(main(sys.argv[1:]))
finally:
    print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def measured(words):
    """Exit status, what was said on standard error, processor seconds and megabytes of a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    # Not `ru_maxrss`: a process begins with its parent's.
    return done.returncode, done.stderr, seconds, int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) // 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("command", ["info", "predict"])
def test_c13_seconds_and_memory_of_a_process(digits, command):
    good, folder = shutil.copytree(digits, digits.with_name("good")), digits
    _, _, seconds, memory = measured(words(command, good))
    for case, (file, _, error) in CASES.items():
        if file not in READS[command]:
            continue
        shutil.rmtree(folder)
        shutil.copytree(good, folder)
        write(folder, TASK, case)
        status, said, took, peak = measured(words(command, folder))
        print(f"{command}, {case}: {took - seconds:+.1f} s, {peak - memory:+} MB")
        assert status == 2 and re.search(error, said, re.DOTALL | re.I), (case, said)
        assert took - seconds < SECONDS and peak - memory < MEGABYTES, case
