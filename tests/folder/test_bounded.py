"""C11 to C13: what is read is bounded, and checked down to each number before anything is done with it."""

import json
import os
import shutil
import time
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING

from atlas_hf import AtlasFormatError, AtlasModel
from atlas_hf.folder import CONFIG, INDEX, RESULTS, SPEC, WEIGHTS, Index, Results, check_task_folder, read_json
from atlas_hf.folder.reading import Limit, check_structure
from atlas_hf.hub.building import check_counts
from atlas_hf.model import storage
from atlas_hf.report.card import write_card, write_task_card
from atlas_hf.report.text import format_info
from atlas_hf.training.checkpoints import MARK, Checkpoint, Progress
from shared.hostile import empty_tensors, small_lists, sparse
from shared.spoiled import alter_json, places

EXAMPLE = Path(__file__).parents[2] / "model_cards" / "example"
TASK = "vqa"


@pytest.fixture
def example(tmp_path):
    """A folder of five tasks without their weights."""
    return shutil.copytree(EXAMPLE, tmp_path / "example")


def shown(folder):
    """What `info` prints and `card` writes."""
    info = format_info(Index.load(folder), Results.load(folder))
    return info + write_card(folder).read_text() + write_task_card(folder, TASK).read_text()


# --- C11 ------------------------------------------------------------------------------------------------------------


def first(**values):
    return lambda results: results["tasks"][0].update(values)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (first(parameters=[]), r"tasks.0.parameters is \[\], not an object"),
        (first(coefficients={"a": 1}), r"tasks.0.coefficients.a is 1, not an object"),
        (first(coefficients={"a": {"x": 0.5}, "b": {}}), "tasks.0 has coefficients of other adapters at other sites"),
        (first(coefficients={"a": {"x": None}}), "tasks.0.coefficients.a.x is None, not a finite number"),
        (lambda v: v.update(matrix=[[[0.5]]]), r"matrix.0.0 is \[0.5\], not a finite number or null"),
        (lambda v: v.update(matrix=[]), r"matrix has rows of \[\] for 4 upstream tasks"),
        (lambda v: v["matrix"][2].pop(), r"matrix has rows of \[4, 4, 3, 4\] for 4 upstream tasks"),
        (lambda v: v["matrix"][0].__setitem__(0, True), "matrix.0.0 is True, not a finite number or null"),
        (lambda v: v["matrix"][0].__setitem__(0, 10**400), "matrix.0.0 is 1000.*, not a finite number or null"),
        (lambda v: v.update(matrix=None), "has no list of lists 'matrix'"),
        (lambda v: v.update(tasks=[None]), "has no list of dicts 'tasks'"),
        (lambda v: v.update(tasks=[]), r"matrix has rows of \[4, 4, 4, 4\] for 0 upstream tasks"),
        (first(name=None), "a task whose name is None"),
        (first(timing=None), "tasks.0.timing is None, not an object"),
        (first(timing={"seconds": "x"}), "tasks.0 has timing.seconds that are no number"),
        (first(score="x"), "tasks.0.score is 'x', not a finite number or null"),
        (first(random_baseline=None), "tasks.0.random_baseline is None, not a finite number"),
        (first(train_examples=1.5), "tasks.0.train_examples is 1.5, not a whole number"),
        (first(parameters={"head": True}), "tasks.0.parameters.head is True, not a whole number"),
        (first(experience=[None]), "tasks.0.experience.0 is None, not a text"),
        (first(metric="\ud800"), "tasks.0.metric is .*, not a text"),
        (first(role=[]), r"tasks.0.role is \[\], not a text"),
        (first(pruned=[]), r"tasks.0.pruned is \[\], not an object or null"),
        (first(stages={"expansion": None}), "tasks.0.stages.expansion is None, not an object"),
    ],
)  # fmt: skip
def test_c11_results_of_other_types_are_refused_with_the_field(example, change, error):
    alter_json(example / RESULTS, change)
    for read in (Results.load, write_card):
        with pytest.raises(AtlasFormatError, match=f"results.json.*{error}.*Restore"):
            read(example)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 5000])
def test_c11_numbers_that_are_none(example, number):
    text = (example / RESULTS).read_text()
    (example / RESULTS).write_text(text.replace('"score": ', f'"score": {number}, "was": ', 1))
    with pytest.raises(AtlasFormatError, match="results.json is not JSON|tasks.0.score is inf, not a finite number"):
        Results.load(example)


def test_c11_older_results_with_fewer_fields_are_shown(example):
    """Those of a task without times, counts or coefficients, and with fields of some other version."""

    def older(results):
        results.pop("further_settings", None)
        for task in results["tasks"]:
            for field in ("timing", "parameters", "coefficients", "opened", "stages", "score", "train_examples"):
                task.pop(field, None)
            task["colour"] = "red"
        results["tasks"][1]["parameters"] = {"head": 7}

    before = Results.load(example)
    alter_json(example / RESULTS, older)
    assert "average accuracy" in shown(example)
    assert Results.load(example).matrix == before.matrix


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda v: v["versions"].update(torch=None), "atlas.json: versions.torch is None, not a text"),
        (lambda v: v["tasks"][TASK].update(stage=[]), rf"atlas.json: tasks.{TASK}.stage is \[\], not a text"),
        (lambda v: v["tasks"][TASK].update(position="x"), f"tasks.{TASK}.position is 'x', not a whole number"),
        (lambda v: v["tasks"][TASK]["files"].update({SPEC: 5}), f"tasks.{TASK}.files.task.json is 5, not a text"),
        (lambda v: v["tasks"][TASK]["metrics"].update(x=True), f"tasks.{TASK}.metrics.x is True, not a finite number"),
        (lambda v: v["tasks"].update(x="x" * 10**6), "is not what atlas_hf writes"),
    ],
)
def test_c11_an_index_of_other_types(example, change, error):
    alter_json(example / INDEX, change)
    with pytest.raises(AtlasFormatError, match=error) as caught:
        Index.load(example)
    assert len(str(caught.value)) < 1500


def test_c11_a_checkpoints_mark_of_other_types(tmp_path):
    Checkpoint(tmp_path).mark(Progress("same", seconds=1))
    assert Checkpoint(tmp_path).progress == Progress("same", seconds=1)
    for values, error in (
        ({"opened": None}, "opened is None, not a list"),
        ({"stage_metrics": {"a": 1}}, "stage_metrics.a is 1, not an object"),
        ({"colour": 1}, "not what atlas_hf writes: .*colour.*Delete it"),
    ):
        (tmp_path / MARK).unlink()
        Checkpoint(tmp_path).mark(Progress("same"))
        alter_json(tmp_path / MARK, lambda mark, values=values: mark.update(values))
        with pytest.raises(AtlasFormatError, match=f"{MARK}.*{error}"):
            Checkpoint.progress.fget(Checkpoint(tmp_path))


# --- C12 ------------------------------------------------------------------------------------------------------------


def shrunk(path):
    os.truncate(path, 100)


def emptied(path):
    os.truncate(path, 0)


def other(path):
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def larger(path):
    os.truncate(path, 2**24)


@pytest.mark.parametrize("change", [shrunk, emptied, other, larger, Path.unlink])
def test_c12_weights_that_change_after_they_were_checked(saved, monkeypatch, change):
    def check_and_change(folder, name, record):
        check_task_folder(folder, name, record)
        if name == "three":
            change(folder / name / WEIGHTS)

    monkeypatch.setattr(storage, "check_task_folder", check_and_change)
    error = f"three/{WEIGHTS} changed while it was read. Load again|are not read|There is no"
    with pytest.raises(AtlasFormatError, match=error):
        AtlasModel.from_pretrained(saved)


def test_c12_a_checkpoint_that_was_cut(tmp_path):
    task = tmp_path / "checkpoint-4" / "one"
    task.mkdir(parents=True)
    (task / CONFIG).write_text('{"stage": "expansion"}')
    save_file({"a": torch.ones(100)}, task / WEIGHTS)
    checkpoint = Checkpoint(task.parent)
    assert checkpoint.weights("one", "expansion")["a"].sum() == 100
    for change in (shrunk, emptied):
        change(task / WEIGHTS)
        with pytest.raises(AtlasFormatError, match="is truncated or not a safetensors file"):
            checkpoint.weights("one", "expansion")
    sparse(task.parent / "trainer_state.json")
    with pytest.raises(AtlasFormatError, match="trainer_state.json has 42,949,672,960 bytes"):
        checkpoint.weights("one", "expansion")


# --- C13 ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def backbone(bert_folder, tmp_path):
    return shutil.copytree(bert_folder, tmp_path / "bert")


@pytest.mark.parametrize(
    ("name", "spoil", "error"),
    [
        ("config.json", sparse, "bytes; more than 16,777,216 are not read"),
        ("config.json", small_lists, "more than 1,000,000 entries"),
        ("adapter_config.json", sparse, "bytes; more than 16,777,216 are not read"),
        ("tokenizer.json", sparse, "bytes; more than 134,217,728 are not read"),
        ("vocab.txt", sparse, "bytes; more than 134,217,728 are not read"),
        ("preprocessor_config.json", os.mkfifo, "is no plain file"),
        ("model.safetensors", empty_tensors, "header of .*model.safetensors has .* bytes; more than 16,777,216"),
        ("model.safetensors", shrunk, "model.safetensors is truncated or not a safetensors file"),
        ("config.json", lambda path: alter_json(path, lambda v: v.update(hidden_size=None)), "cannot be loaded: .*"),
        ("config.json", lambda path: alter_json(path, lambda v: v.update(num_attention_heads=0)), "cannot be loaded"),
    ],
)  # fmt: skip
def test_c13_a_backbone_that_asks_for_too_much(backbone, name, spoil, error):
    spoil(backbone / name)
    start = time.process_time()
    with pytest.raises(AtlasFormatError, match=f"(?i){error}"):
        AtlasModel.from_pretrained(backbone)
    assert time.process_time() - start < 2


NO_FIT = "config.json does not fit its weights"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"num_hidden_layers": 10**7}, "config.json: num_hidden_layers is 1e.07; at most 100,000 are possible"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1; .* none below 0"),
        ({"num_hidden_layers": 10**400}, "num_hidden_layers is more than any number; at most 100,000"),
        ({"num_hidden_layers": 90_000}, "asks for far more than its weights hold"),
        ({"num_hidden_layers": 3, "intermediate_size": 10**9}, "asks for far more than its weights hold"),
        ({"vocab_size": 10**12}, "asks for far more than its weights hold"),
        ({"vocab_size": 65}, NO_FIT),
        ({"hidden_size": 10**9}, "asks for far more than its weights hold"),
        ({"hidden_size": -4}, NO_FIT),
        ({"max_position_embeddings": 10**12}, "asks for far more than its weights hold"),
        ({"type_vocab_size": 10**30}, "cannot be loaded"),
        ({"id2label": None, "num_labels": 10**9}, "num_labels is 1e.09; at most"),
        ({"depths": [2, 10**9]}, "depths is 1e.09; at most"),
        ({"hidden_size": float("nan")}, "expected int, got float"),
        ({"num_hidden_layers": 2.5}, "expected int, got float"),
    ],
)
def test_c13_a_backbone_whose_configuration_asks_for_any_size(backbone, changes, error):
    """One sentence, at once: transformers builds on the meta device, and is stopped there."""
    alter_json(backbone / "config.json", lambda values: values.update(changes))
    start = time.process_time()
    with pytest.raises(AtlasFormatError, match=error) as caught:
        AtlasModel.from_pretrained(backbone)
    assert time.process_time() - start < 2 and "\n" not in str(caught.value)


def test_c13_every_model_of_transformers_has_counts_that_are_possible(tmp_path):
    path = tmp_path / "config.json"
    for name in ("mgp-str", "bert", "swin", "whisper", "vilt", "llava"):
        path.write_text(CONFIG_MAPPING[name]().to_json_string(use_diff=False))
        check_counts(path)


def test_c13_a_header_with_too_many_tensors_for_its_bytes(saved):
    """Short names: a hundred thousand entries in less than four megabytes."""
    path = saved / "two" / WEIGHTS
    tensors = (b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(30_000))
    header = b"{" + b",".join(tensors) + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(AtlasFormatError, match="header of .* is not JSON of atlas_hf: more than 100,000 entries"):
        AtlasModel.from_pretrained(saved)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\[{,', max_size=4), inner, max_size=4),
    max_leaves=25,
)


def measure(value):
    """Entries and depth of a JSON value, the slow way."""
    if not isinstance(value, (list, dict)):
        return 0, 0
    inner = [measure(one) for one in (value.values() if isinstance(value, dict) else value)]
    entries = 1 + max(len(inner) - 1, 0) + sum(count for count, _ in inner)
    return entries, 1 + max((depth for _, depth in inner), default=0)


@settings(max_examples=100, deadline=None)
@given(value=JSON, plain=st.booleans(), indent=st.none() | st.just(2), block=st.integers(1, 40))
def test_c13_entries_and_nesting_are_those_of_the_parser(value, plain, indent, block):
    """Exactly, whatever stands in strings, and wherever a block ends."""
    text = json.dumps(value, ensure_ascii=plain, indent=indent).encode("utf-8", "surrogatepass")
    entries, depth = measure(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atlas_hf.folder.reading._BLOCK", block)
        check_structure("x", text, Limit(1, entries, depth))
        for limit, error in ((Limit(1, entries - 1, depth), "entries"), (Limit(1, entries, depth - 1), "deep")):
            if entries:
                with pytest.raises(AtlasFormatError, match=f"x is not JSON of atlas_hf: .*{error}"):
                    check_structure("x", text, limit)


def test_c13_sixteen_megabytes_are_measured_in_no_time():
    for text in (b"[" * 2**24, b'"' + b'\\"' * 2**23, b'{"a":1},' * 2**21, b" " * 2**24):
        start = time.process_time()
        check_structure("x", text, Limit(2**24, 2**30, 2**30))
        assert time.process_time() - start < 1


def test_c13_our_own_largest_files_are_far_below(tmp_path):
    """A thousand tasks that reuse eight others each."""
    index = read_json(EXAMPLE / INDEX)
    record, names = index["tasks"][TASK], [f"task-number{i}" for i in range(1000)]
    index["tasks"] = {
        name: record | {"position": i + 1, "experience": names[max(i - 8, 0) : i]} for i, name in enumerate(names)
    }
    (tmp_path / INDEX).write_text(json.dumps(index, indent=2))
    assert list(Index.load(tmp_path).tasks) == names
    results = read_json(EXAMPLE / RESULTS)
    task = results["tasks"][0] | {"coefficients": {f"site.{i}": dict.fromkeys(names[:8], 1 / 3) for i in range(24)}}
    results["tasks"] = [task | {"name": name} for name in names[:256]]
    results["matrix"] = [[1 / 3] * 256] * 256
    (tmp_path / RESULTS).write_text(json.dumps(results, indent=2))
    assert len(Results.load(tmp_path).tasks) == 256


# --- anything -------------------------------------------------------------------------------------------------------

ODD = st.sampled_from(
    [None, True, -1, 0, 1.5, 10**30, 10**400, float("nan"), "", "..", "x" * 5000, "\ud800", "\x1b[2J\n", [], {}, [[]],
     [None], [[0.5]], {"a": 1}, {"a": None}, [{}], {"a": {"a": [1]}}, [0] * 300]
)  # fmt: skip


def mutate(values, data):
    """Another value, or none, at some place or two."""
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, last = data.draw(st.sampled_from([path for path in places(values) if path]))
        inner = values
        for key in parents:
            inner = inner[key]
        if isinstance(inner, dict) and data.draw(st.booleans()):
            del inner[last]
        else:
            inner[last] = deepcopy(data.draw(ODD))
        assume(values)


@pytest.mark.parametrize("name", [RESULTS, INDEX, f"{TASK}/{SPEC}", f"{TASK}/{CONFIG}"])
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_file_holds_it_is_shown_or_refused(example, name, data):
    """`info` and `card` of changed files: another exception than these is a fault."""
    text = (example / name).read_text()
    values = json.loads(text)
    mutate(values, data)
    (example / name).write_text(json.dumps(values))
    try:
        said = shown(example)
    except ValueError as error:
        said = str(error)
    (example / name).write_text(text)
    assert said and "\x1b" not in said


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_mark_holds_it_is_read_or_refused(tmp_path, data):
    (tmp_path / MARK).unlink(missing_ok=True)
    Checkpoint(tmp_path).mark(Progress("same", True, ["a"], {"expansion": {"loss": 1.0}}, 1.5))
    values = json.loads((tmp_path / MARK).read_text())
    mutate(values, data)
    (tmp_path / MARK).write_text(json.dumps(values))
    with suppress(AtlasFormatError):
        found = Checkpoint(tmp_path).progress
        assert found is None or isinstance(found, Progress)
