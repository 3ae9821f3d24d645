"""A folder of tasks from somebody nobody vouches for: loading it runs no code, follows no path and comes to an end."""

import json
import os
import pickle
import sys
from pathlib import Path

import pytest

from atlas_hf import AtlasFormatError, AtlasModel
from atlas_hf.folder import INDEX, TASK_FILES
from atlas_hf.hub import download
from shared.hub_server import loopback_hub
from shared.spoiled import alter_json, refused, reseal

CONFIG, SPEC, WEIGHTS = "two/adapter_config.json", "two/task.json", "two/adapter_model.safetensors"
BOMB = r"(\w+\.?)+!"  # hours on a module path of eighty letters
PATTERNS = [BOMB, "(ab|ab)" * 30 + "!", "a?" * 40 + "a" * 40, ".*" * 20 + "!", "x" * 10_000, "("]
REPO = "user/atlas"


def alter(folder, file, **values):
    """Change fields of a task's file, with the digest to go with it."""
    alter_json(folder / file, lambda old: old.update(values))
    reseal(folder, file.split("/")[0])


def alter_record(folder, **values):
    alter_json(folder / INDEX, lambda index: index["tasks"]["two"].update(values))


def rewrite(folder, file, old, new):
    """Replace text of a JSON file by what the json module would not write."""
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    if "/" in file:
        reseal(folder, file.split("/")[0])


# --- names and paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", "../../up", "/etc", "a/b", "a\\b", ".hidden", "", "\ud800", "x" * 65])
def test_a_task_name_is_no_path(learner, saved, name):
    alter_json(saved / INDEX, lambda index: index["tasks"].update({name: index["tasks"]["one"]}))
    refused(learner, saved, "Task name .* is not allowed", AtlasFormatError)


@pytest.mark.parametrize("name", ["../task.json", "/etc/passwd", "task.json/", "adapter_model.bin", "README.md"])
def test_only_the_three_files_are_named(learner, saved, name):
    alter_json(saved / INDEX, lambda index: index["tasks"]["two"]["files"].update({name: "0" * 64}))
    refused(learner, saved, "files of task 'two' are not adapter_config.json, adapter_model", AtlasFormatError)


def test_a_reused_task_is_no_path(learner, saved):
    alter_record(saved, experience=["../one"])
    refused(learner, saved, r"'two' reuses \['../one'\], but only \['one'\] were learned", AtlasFormatError)


def test_paths_that_mean_nothing_are_not_followed(saved):
    """The backbone is the one in atlas.json; PEFT's fields for it are never used as a path."""
    alter(saved, CONFIG, base_model_name_or_path="/nowhere", revision="../../up")
    assert AtlasModel.from_pretrained(saved).tasks == ["one", "two", "three"]


@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/zero", "task.json", "/nowhere"])
@pytest.mark.parametrize("file", [CONFIG, SPEC, WEIGHTS])
def test_links_out_of_the_folder_give_nothing(learner, saved, file, target):
    (saved / file).unlink()
    (saved / file).symlink_to(target)
    refused(
        learner, saved, "leads out of the folder, to .*: it is a link, which is neither read nor", AtlasFormatError
    )


def test_a_pipe_does_not_block(learner, saved):
    (saved / SPEC).unlink()
    os.mkfifo(saved / SPEC)
    refused(learner, saved, "'two' lacks task.json", AtlasFormatError)


def test_a_link_to_another_task_is_not_that_task(learner, saved):
    for file in TASK_FILES:
        (saved / "two" / file).unlink()
        (saved / "two" / file).symlink_to(saved / "one" / file)
    reseal(saved, "two")
    refused(
        learner,
        saved,
        "two/adapter_config.json leads out of the folder, to .*one/adapter_config.json",
        AtlasFormatError,
    )


# --- code -----------------------------------------------------------------------------------------------------------


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_class_that_a_file_names_is_imported(saved):
    mapping = {"base_model_class": "Popen", "parent_library": "antigravity"}
    alter(saved, CONFIG, auto_mapping=mapping, peft_type="LORA")
    model = AtlasModel.from_pretrained(saved)
    assert "antigravity" not in sys.modules and model.peft_config["two"].peft_type.value == "ATLAS"


def test_code_and_pickles_in_the_root_are_never_opened(saved, tmp_path):
    bomb = pickle.dumps(Touch(tmp_path / "ran"))
    for name in ("pytorch_model.bin", "training_args.bin", "adapter_model.bin", "optimizer.pt"):
        (saved / name).write_bytes(bomb)
    for name in ("modeling.py", "setup.py", "conftest.py", "one/modeling.py"):
        (saved / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    alter(saved, CONFIG, auto_mapping={"auto_map": {"AutoModel": "modeling.Model"}})
    assert AtlasModel.from_pretrained(saved).tasks == ["one", "two", "three"]
    assert not (tmp_path / "ran").exists()
    pickle.loads(bomb)
    assert (tmp_path / "ran").exists(), "the bomb works"


def test_neither_code_nor_pickles_nor_cards_are_fetched(saved, tmp_path):
    found = [path for path in saved.rglob("*") if path.is_file() and path.parent.name != ".atlas_hf"]
    files = {str(path.relative_to(saved)): path.read_bytes() for path in found}
    extra = [
        "README.md",
        "modeling.py",
        "one/x.py",
        "pytorch_model.bin",
        "two/adapter_model.bin",
        "../up",
        "config.json",
    ]
    with loopback_hub(tmp_path / "home") as server:
        server.store.create("model", REPO)
        server.foreign_commit(REPO, files | dict.fromkeys(extra, b"#" * 10**6))
        folder = download(REPO)
        fetched = {entry.path.partition("/resolve/")[2].partition("/")[2] for entry in server.requests("(GET|HEAD) /")}
    got = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert got == set(files) and not fetched & set(extra)


# --- numbers and sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["1e999", "-1", "0", "65537", "4.0", "true", '"4"', "[4]", "NaN", "9" * 5000])
def test_a_width_that_is_none(learner, saved, value):
    rewrite(saved, CONFIG, '"r": 4', f'"r": {value}')
    refused(learner, saved, "A record of task 'two' is not one of atlas_hf", AtlasFormatError)


def test_a_wide_adapter_takes_no_memory_before_its_file_is_checked(learner, saved):
    alter(saved, CONFIG, r=65536)
    refused(learner, saved, r"atlas_down.bias is \(4,\) in torch.float32; it must be \(65536,\)", AtlasFormatError)


@pytest.mark.parametrize("values", [{"num_choices": 10**30}, {"num_choices": True}, {"random_baseline": 10**400}])
def test_numbers_of_a_task_that_are_none(learner, saved, values):
    alter(saved, SPEC, **values)
    refused(learner, saved, "record of task 'two' is not one|a head that task.json does not", AtlasFormatError)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "\x00", '{"a": 1', "null", '"two"'])
@pytest.mark.parametrize("file", [INDEX, CONFIG, SPEC])
def test_json_bombs(learner, saved, file, text):
    (saved / file).write_text(text)
    if file != INDEX:
        reseal(saved, "two")
    refused(learner, saved, "is not JSON|not an object", AtlasFormatError)


def test_a_header_that_claims_to_be_huge(learner, saved):
    (saved / WEIGHTS).write_bytes((2**63 - 1).to_bytes(8, "little") + b"{}")
    reseal(saved, "two")
    refused(learner, saved, "is truncated or not a safetensors file", AtlasFormatError)


# --- what is still to be checked ------------------------------------------------------------------------------------


@pytest.mark.timeout(20)
@pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "layers_pattern"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_that_never_end(learner, saved, field, pattern):
    more = {"target_modules": ["output.dense"], "layers_to_transform": [0]} if field == "layers_pattern" else {}
    alter(saved, CONFIG, **more | {field: pattern})
    refused(learner, saved, f"record of task 'two' .*{field}.* names, or a simple regex", AtlasFormatError)


@pytest.mark.parametrize(
    "values",
    [
        {"target_modules": 5},
        {"target_modules": [[]]},
        {"target_modules": [f"x{i}" for i in range(10_000)]},
        {"layers_to_transform": "x"},
        {"layers_to_transform": [10**30]},
        {"experience_sha256": []},
        {"experience_sha256": None},
    ],
)
def test_settings_of_another_type(learner, saved, values):
    alter(saved, CONFIG, **values)
    refused(learner, saved, f"record of task 'two' .*{next(iter(values))}", AtlasFormatError)


@pytest.mark.parametrize(
    "values",
    [
        {"experience": [[]]},
        {"metrics": [1]},
        {"metrics": "ab"},
        {"metrics": {"accuracy": 10**400}},
        {"position": "../../up"},
        {"stage": None},
        {"files": dict.fromkeys(TASK_FILES)},
    ],
)
def test_a_record_of_other_types(learner, saved, values):
    alter_record(saved, **values)
    refused(learner, saved, f"atlas.json: .*task.*two.*{next(iter(values))}|task 'two' reuses", AtlasFormatError)


@pytest.mark.parametrize("file", [INDEX, CONFIG, SPEC])
def test_json_without_measure(learner, saved, file):
    rewrite(saved, file, "{", '{"digits": ' + "9" * 5000 + ", ")
    refused(learner, saved, f"{Path(file).name} is not JSON", AtlasFormatError)
    (saved / file).write_text(" " * (16 * 2**20 + 1))
    if file != INDEX:
        reseal(saved, "two")
    refused(learner, saved, f"{Path(file).name} has 16,777,217 bytes", AtlasFormatError)


@pytest.mark.parametrize("changes", [{"id": 5}, {"id": {}}, {"revision": "../../x"}, {"revision": 7}, {"sha256": []}])
def test_a_backbone_that_is_no_name(learner, saved, changes):
    alter_json(saved / INDEX, lambda index: index["base_model"].update(changes))
    refused(learner, saved, f"atlas.json: the backbone's {next(iter(changes))}", AtlasFormatError)


def test_a_repository_names_no_folder_of_this_machine(saved, tmp_path):
    """The `saved` folder names a backbone by its path here; from the Hub, that is not followed."""
    found = [path for path in saved.rglob("*") if path.is_file() and path.parent.name != ".atlas_hf"]
    files = {str(path.relative_to(saved)): path.read_bytes() for path in found}
    assert Path(json.loads(files[INDEX])["base_model"]["id"]).is_absolute()
    with loopback_hub(tmp_path / "home") as server:
        server.store.create("model", REPO)
        server.foreign_commit(REPO, files)
        with pytest.raises(AtlasFormatError, match="atlas.json names the backbone '/.*', which is no repository"):
            AtlasModel.from_pretrained(REPO)
