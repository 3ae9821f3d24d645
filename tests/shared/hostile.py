"""What a folder of tasks may hold that asks for hours or for all memory, each written into a folder in no time."""

import os

from atlas_hf.folder import CONFIG, INDEX, RESULTS, SPEC, WEIGHTS
from shared.spoiled import alter_json, reseal

SPARSE = 40 * 2**30
MANY_TENSORS = 10**6


def sparse(path):
    """Forty gigabytes that take no space."""
    path.write_bytes(b"{")
    os.truncate(path, SPARSE)


def small_lists(path, size=15 * 2**20):
    """Five million lists: a gigabyte in memory."""
    path.write_bytes(b'{"a": [' + b"[]," * (size // 3) + b"[]]}")


def brackets(path):
    path.write_bytes(b'{"a": ' + b"[" * 10**5 + b"]" * 10**5 + b"}")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def empty_tensors(path):
    """A safetensors header with a million tensors of no size."""
    entries = b",".join(b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(MANY_TENSORS))
    header = b"{" + entries + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def no_timing(path):
    alter_json(path, lambda results: results["tasks"][0].update(timing=None))


def write(folder, task, case):
    """Write one of `CASES` into a folder that holds the task."""
    name, spoil, _ = CASES[case]
    file = folder / name if name in (INDEX, RESULTS) else folder / task / name
    spoil(file)
    if name in (CONFIG, SPEC) and file.is_file() and file.stat().st_size < SPARSE:
        reseal(folder, task)


# By case: the file, what is done to it, and what the error says.
CASES = {
    f"{name} {spoil.__name__}": (name, spoil, f"{name}.*{error}")
    for name in (INDEX, RESULTS, CONFIG, SPEC)
    for spoil, error in (
        (sparse, "has 42,949,672,960 bytes; more than .* are not read"),
        (small_lists, "more than 1,000,000 entries"),
        (brackets, "nested more than 32 deep"),
        (pipe, "is no plain file|lacks"),
        (folder, "is no plain file|lacks"),
    )
} | {
    "weights with a million tensors": (WEIGHTS, empty_tensors, "header of .*bytes; more than 4,194,304 are not read"),
    "weights cut": (WEIGHTS, cut, "is truncated or not a safetensors file"),
    "weights sparse": (WEIGHTS, sparse, f"{WEIGHTS} has 42,949,672,960 bytes"),
    "results of null": (RESULTS, no_timing, "timing is None"),
}  # fmt: skip
