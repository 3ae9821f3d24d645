"""Thousands of spoiled folders: each loads to the same answers, or is refused with one of the package's own errors.

Every case is made from its number, so that a failing one can be made again:
`PYTHONPATH=tests python tests/folder/test_fuzz.py 1234 FOLDER`.
"""

import json
import os
import pickle
import random
import resource
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas_hf import AtlasFormatError, AtlasModel
from atlas_hf.folder import CONFIG, INDEX, SPEC, WEIGHTS
from shared.comparing import file_digests, seeded
from shared.spoiled import places, reseal

TASKS = ("one", "two", "three")
JSONS = [INDEX, *(f"{task}/{name}" for task in TASKS for name in (CONFIG, SPEC))]
WEIGHTS = [f"{task}/{WEIGHTS}" for task in TASKS]
ODD = [
    None, True, -1, 0, 3, 1.5, 10**9, 10**30, -(10**18), float("nan"), float("inf"), "", "..", "../../one",
    "/etc/passwd", "one/../two", "x" * 100_000, "\x00", "\ud800", "__class__", "(a+)+$", [], {}, [[]], [None],
    ["one", "one"], {"one": {}}, [{}] * 5, [0] * 10_000, {"__reduce__": "os.system"}, "atlas_hf", "torch.nn:Linear",
]  # fmt: skip
SECONDS = 5  # of processor time, on a machine of any speed; measured are 0.1 to 0.3


class Pickle:
    def __reduce__(self):
        return os.mkdir, ("opened",)


def change_json(folder, chance):
    """Another value, a missing or another key, or what is no JSON, at any place of any record."""
    file = folder / chance.choice(JSONS)
    values = json.loads(file.read_text())
    for _ in range(chance.randint(1, 2)):
        *parents, last = chance.choice([path for path in places(values) if path] or [("a",)])
        inner = values
        for key in parents:
            inner = inner[key]
        kind = chance.choice(["value", "value", "delete", "rename", "copy"])
        if kind == "value" or isinstance(inner, list):
            inner[last] = chance.choice(ODD)
        elif kind == "copy":
            inner[chance.choice(["one", "../one", "x", ""])] = inner[last]
        else:
            old = inner.pop(last)
            inner |= {chance.choice(["one", "..", "zzz"]): old} if kind == "rename" else {}
    text = json.dumps(values)
    text = text if chance.random() < 0.9 else chance.choice(["", "[" * 100_000, "null", "[]", text[:-1], text + "}"])
    file.write_text(text, errors="surrogatepass")
    seal(folder, file, chance)


def change_tensors(folder, chance):
    """Tensors of other names, shapes, types, or not finite."""
    file = folder / chance.choice(WEIGHTS)
    tensors = load_file(file)
    name = chance.choice(list(tensors))
    kind = chance.choice(["drop", "rename", "shape", "type", "nan", "inf", "extra", "base"])
    tensor = tensors.pop(name)
    tensors |= {
        "drop": {}, "rename": {name.replace("layer.0", "layer.9") + "x": tensor},
        "shape": {name: torch.cat([tensor, tensor])},
        "type": {name: tensor.half()}, "nan": {name: tensor * float("nan")}, "inf": {name: tensor + float("inf")},
        "extra": {name: tensor, "extra": tensor.clone()},
        "base": {name: tensor, "base_model.model.embeddings.word_embeddings.weight": tensor.clone()},
    }[kind]  # fmt: skip
    save_file({key: value.contiguous() for key, value in tensors.items()}, file)
    reseal(folder, file.parent.name)


def change_header(folder, chance):
    """A safetensors header that lies about lengths, shapes, types or offsets."""
    file = folder / chance.choice(WEIGHTS)
    data = bytearray(file.read_bytes())
    length = int.from_bytes(data[:8], "little")
    if chance.random() < 0.3:
        data[:8] = chance.choice([0, 1, length - 1, length + 1, 2**40, 2**63, 2**64 - 1]).to_bytes(8, "little")
    else:
        header = json.loads(data[8 : 8 + length])
        entry = header[chance.choice([key for key in header if key != "__metadata__"])]
        field = chance.choice(list(entry))
        entry[field] = chance.choice([[0, 10**12], [5, 1], [-1, 4], [10**6, 10**6], "F64", "X", None, [], [2**62] * 4])
        new = json.dumps(header).encode()
        data = bytearray(len(new).to_bytes(8, "little") + new + data[8 + length :])
    file.write_bytes(data)
    reseal(folder, file.parent.name)


def change_bytes(folder, chance):
    """Flipped bits, a cut, more at the end. Not sealed: the digest must notice."""
    file = folder / chance.choice(JSONS[1:] + WEIGHTS)
    data = bytearray(file.read_bytes())
    kind = chance.choice(["flip", "flip", "cut", "more", "nothing"])
    for _ in range(chance.randint(1, 8) if kind == "flip" else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    data = data[: chance.randrange(len(data))] if kind == "cut" else data
    data = data + chance.randbytes(50) if kind == "more" else bytearray() if kind == "nothing" else data
    file.write_bytes(data)


def change_files(folder, chance):
    """Files that are missing, exchanged, folders, links out of the folder, or pickles."""
    file, other = (folder / name for name in chance.sample(JSONS + WEIGHTS, 2))
    kind = chance.choice(["delete", "swap", "folder", "link", "link to itself", "pickle", "delete task", "add"])
    if kind == "swap":
        one, two = file.read_bytes(), other.read_bytes()
        file.write_bytes(two), other.write_bytes(one)
    elif kind == "delete task":
        shutil.rmtree(folder / chance.choice(TASKS))
    elif kind == "add":
        name = chance.choice(["pytorch_model.bin", "adapter_model.bin", "one/adapter_model.bin", "modeling.py"])
        (folder / name).write_bytes(pickle.dumps(Pickle()))
    else:
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind.startswith("link"):
            outside = chance.choice([folder.parent / "secret", "/dev/zero", other])
            file.symlink_to(file if "itself" in kind else outside)
        elif kind == "pickle":
            file.write_bytes(pickle.dumps(Pickle()))
    seal(folder, file, chance)


def change_index(folder, chance):
    """Very many tasks, or tasks that reuse one another in circles."""
    file = folder / INDEX
    index = json.loads(file.read_text())
    record = index["tasks"]["one"]
    kind = chance.choice(["many", "circle", "long"])
    if kind == "many":
        index["tasks"] |= {f"t{i}": record | {"position": i + 4} for i in range(10_000)}
    elif kind == "circle":
        index["tasks"]["one"]["experience"] = chance.choice([["one"], ["three"], ["two"] * 1000])
    else:
        index["tasks"]["three"]["experience"] = ["one", "two"] * chance.choice([2, 5000])
    file.write_text(json.dumps(index))


CHANGES = [change_json] * 5 + [change_tensors, change_header, change_bytes, change_bytes, change_files, change_index]


def seal(folder, file, chance):
    """Let the digests agree, as somebody who means harm would; mostly."""
    if file.parent != folder and not file.is_symlink() and chance.random() < 0.7:
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):  # there is nothing left to seal
            reseal(folder, file.parent.name)


def spoil(folder, number):
    """The folder of a case; the name of what was done to it."""
    chance = random.Random(number)
    change = chance.choice(CHANGES)
    change(folder, chance)
    return change.__name__


def run(whole, workplace, numbers, backbone):
    """All cases: counts of what came of them, and the processor time of each."""
    inputs = AtlasModel.from_pretrained(whole).preprocessor.encode_texts([["a b"], ["c"]])
    expected = {task: seeded(AtlasModel.from_pretrained(whole), task, **inputs) for task in ("one", "three")}
    (workplace / "secret").write_text("secret")
    before, outcomes, seconds = file_digests(workplace), {}, []
    for number in numbers:
        folder = shutil.copytree(whole, workplace / "case")
        what = spoil(folder, number)
        start = time.process_time()
        try:
            model = AtlasModel.from_pretrained(folder, backbone=backbone)
        except (AtlasFormatError, ValueError) as error:
            if not str(error):
                pytest.fail(f"case {number}, {what}: an error that says nothing")
            found = "refused"
        else:
            found = "loaded"
            for task in expected.keys() & set(model.tasks):
                answer = seeded(model, task, **inputs)
                assert np.array_equal(answer, expected[task]), f"case {number}, {what}: another answer of {task}"
        seconds.append(time.process_time() - start)
        assert seconds[-1] < SECONDS, f"case {number}, {what}: {seconds[-1]:.1f} s"
        shutil.rmtree(folder)
        assert file_digests(workplace) == before, f"case {number}, {what}: a file outside was touched"
        outcomes[what, found] = outcomes.get((what, found), 0) + 1
    return outcomes, seconds


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def check(saved_once, bert_folder, tmp_path, monkeypatch, numbers):
    monkeypatch.chdir(tmp_path)
    start = memory()
    outcomes, seconds = run(saved_once, tmp_path, numbers, bert_folder)
    print(f"\n{outcomes}\nprocessor time: largest {max(seconds):.2f} s; memory grew by {memory() - start:.0f} MB")
    assert memory() - start < 500
    assert {what for what, _ in outcomes} == {change.__name__ for change in CHANGES}
    return outcomes


def test_a_hundred_spoiled_folders(saved_once, bert_folder, tmp_path, monkeypatch):
    outcomes = check(saved_once, bert_folder, tmp_path, monkeypatch, range(100))
    refused = sum(count for (_, found), count in outcomes.items() if found == "refused")
    assert refused > 60, "most changes matter"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_spoiled_folders(saved_once, bert_folder, tmp_path, monkeypatch):
    check(saved_once, bert_folder, tmp_path, monkeypatch, range(1000, 3000))


if __name__ == "__main__":
    print(spoil(Path(sys.argv[2]), int(sys.argv[1])))
