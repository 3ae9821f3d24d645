"""A task of one's own: what is read, what is inferred, what is written, and learning one after the other."""

import csv
import json

import pytest
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from atlas_hf import TaskSpec
from atlas_hf.cli import main
from atlas_hf.cli.own_tasks import OwnTask
from atlas_hf.data.own_data import infer_spec, own_task
from shared.tiny import picture

TINY = ["--max_steps", "2", "--per_device_train_batch_size", "8", "--disable_tqdm", "True", "--r", "4"]


def table(folder, rows, name="animals.csv"):
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def pets(tmp_path):
    """A folder of images with a CSV: paths are relative to it."""
    (tmp_path / "pets" / "photos").mkdir(parents=True)
    rows = []
    for i in range(20):
        picture(("red", "blue")[i % 2]).save(tmp_path / f"pets/photos/{i}.png")
        rows.append({"photo": f"photos/{i}.png", "what": "is it a", "animal": ("dog", "cat")[i % 2]})
    return table(tmp_path / "pets", rows)


def test_a_folder_of_images_with_a_csv(pets):
    spec, data = own_task(str(pets), "pets", label_column="animal")
    expected = TaskSpec(
        "pets", "single_label_classification", ("photo",), label_column="animal",
        label_names=("cat", "dog"), random_baseline=0.5,
    )  # fmt: skip
    assert spec == expected
    assert {split: len(rows) for split, rows in data.items()} == {"train": 18, "test": 2}
    for split, rows in data.items():
        spec.check_dataset(rows, split)
        for row in rows:
            assert row["photo"].getpixel((0, 0))[0] == (0, 255)[row["animal"]], "a dog is red, a cat is not"


def test_held_out_rows_are_seeded_and_in_one_split_only(pets):
    def paths(seed):
        _, data = own_task(pets, "pets", image_columns=["photo"], label_column="animal", seed=seed)
        rows = [data[split].cast_column("photo", Image(decode=False))["photo"] for split in data]
        return [[image["path"] for image in part] for part in rows]

    assert paths(0) == paths(0) != paths(1)
    assert len({path for part in paths(0) for path in part}) == 20


def test_the_imagefolder_layout(tmp_path):
    for split, count in (("train", 6), ("test", 4)):
        for i in range(count):
            path = tmp_path / "shapes" / split / ("round", "flat")[i % 2]
            path.mkdir(parents=True, exist_ok=True)
            picture().save(path / f"{i}.png")
    spec, data = own_task(tmp_path / "shapes", "shapes")
    assert spec.image_columns == ("image",) and spec.label_names == ("flat", "round") and not spec.text_columns
    assert [len(rows) for rows in data.values()] == [6, 4]


@pytest.mark.parametrize(
    ("count", "given", "expected"),
    [
        (499, [], {"train": 449, "test": 50}),
        (500, [], {"train": 400, "validation": 50, "test": 50}),
        (499, ["test"], {"train": 499, "test": 9}),
        (500, ["test"], {"train": 450, "validation": 50, "test": 9}),
        (499, ["validation"], {"train": 449, "validation": 9, "test": 50}),
    ],
)
def test_a_state_is_chosen_by_rows_that_are_many_enough_for_it(count, given, expected):
    rows = Dataset.from_dict({"text": [f"a {i}" for i in range(count)], "label": [i % 2 for i in range(count)]})
    others = {split: rows.select(range(9)).map(lambda row: {"text": f"b {row['text']}"}) for split in given}
    _, data = own_task(DatasetDict(train=rows, **others), "mine")
    assert {split: len(part) for split, part in data.items()} == expected
    texts = [text for split, part in data.items() if split not in given for text in part["text"]]
    assert sorted(texts) == sorted(rows["text"])


def test_a_csv_for_each_split_and_numbers_as_labels(tmp_path):
    rows = [{"text": f"a {i}", "stars": i % 3 + 1} for i in range(9)]
    for split in ("train", "validation", "test"):
        table(tmp_path / "reviews", rows, f"{split}.csv")
    spec, data = own_task(tmp_path / "reviews", "reviews", label_column="stars")
    assert spec.label_names == ("1", "2", "3") and data["test"]["stars"][:4] == [0, 1, 2, 0]
    assert [len(part) for part in data.values()] == [9, 9, 9]


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ({"text": ["a", "b", "c"], "label": [0.5, 1.5, 2.5]}, {}, {"problem_type": "regression", "label_names": None}),
        (
            {"text": ["a", "b", "c"], "label": [["x"], ["x", "y"], []]},
            {},
            {"problem_type": "multi_label_classification", "label_names": ("x", "y")},
        ),
        (
            {"goal": ["a", "b", "c"], "ways": [["x", "y"]] * 3, "label": [0, 1, 1]},
            {"choices_column": "ways"},
            {"problem_type": "multiple_choice", "num_choices": 2, "text_columns": ("goal",), "random_baseline": 2 / 3},
        ),
        (
            {"one": ["a", "b", "c"], "two": ["a", "b", "c"], "kind": ["x", "y", "x"]},
            {"label_column": "kind", "text_columns": ["two"]},
            {"problem_type": "single_label_classification", "text_columns": ("two",), "label_names": ("x", "y")},
        ),
    ],
    ids=["regression", "multi-label", "choice", "text"],
)
def test_the_problem_type_is_inferred(columns, options, expected):
    spec = infer_spec(Dataset.from_dict(columns), "mine", **options)
    assert {name: getattr(spec, name) for name in expected} == expected


def test_two_images_are_a_pair_and_a_class_column_is_the_label():
    features = Features({"a": Image(), "b": Image(), "kind": ClassLabel(names=["no", "yes"]), "n": Value("int64")})
    rows = {"a": [picture()] * 3, "b": [picture()] * 3, "kind": [0, 1, 1], "n": [1, 2, 3]}
    spec = infer_spec(Dataset.from_dict(rows, features), "pairs")
    assert (spec.problem_type, spec.image_columns) == ("image_pair", ("a", "b"))
    assert (spec.label_column, spec.label_names) == ("kind", ("no", "yes"))


def test_an_edited_order_of_label_names_holds():
    rows = Dataset.from_dict({"text": list("abcd") * 5, "label": ["no", "yes"] * 10})
    spec = TaskSpec("mine", "single_label_classification", text_columns=["text"], label_names=["yes", "no"])
    _, data = own_task(DatasetDict(train=rows, validation=rows, test=rows), "mine", spec=spec)
    assert data["test"]["label"][:3] == [1, 0, 1]


def test_bad_data(pets, tmp_path):
    def fails(text, data=pets, error=ValueError, **columns):
        with pytest.raises(error, match=text):
            own_task(data, "mine", **columns)

    fails("There is no column 'foto'; found were 'photo', 'what', 'animal'", image_columns="foto")
    fails("There is no column 'kind'; found were", image_columns="photo", label_column="kind")
    fails("Which column is the label.*'photo', 'what', 'animal'. Name label_column", image_columns=["photo"])
    (pets / "photos" / "3.png").unlink()
    missing = r"row 3 of 'train' has an image in 'photo' that is not there: no file .*3\.png. Put it there, or mend"
    fails(missing, image_columns="photo", label_column="animal")
    fails("The split 'train' holds no rows", Dataset.from_dict({"text": [], "label": []}))
    one = Dataset.from_dict({"text": ["a", "b"], "label": ["x", "x"]})
    fails(r"The column 'label' holds \['x'\]; a task needs two labels or more", one)
    fails("There are no data in .*nowhere.*Give a folder", tmp_path / "nowhere")
    splits = DatasetDict(train=one, dev=one)
    fails(r"have the splits \['train', 'dev'\]; possible are \['train', 'validation', 'test'\]", splits)
    good = Dataset.from_dict({"text": list("abcd"), "label": ["x", "y"] * 2})
    other = Dataset.from_dict({"text": ["a"], "label": ["z"]})
    fails("row 0 of 'test' has the label 'z' in 'label'; label_names are x, y", DatasetDict(train=good, test=other))


def test_the_spec_as_yaml_and_back(tmp_path):
    spec = TaskSpec("mine", "single_label_classification", text_columns=["text"], label_names=["ja", "nein", "öfter"])
    path = tmp_path / "mine.yaml"
    path.write_text(OwnTask(spec, "me/reviews", 3).to_yaml())
    assert OwnTask.read(path) == OwnTask(spec, "me/reviews", 3)
    assert yaml.safe_load(path.read_text())["label_names"] == ["ja", "nein", "öfter"]
    path.write_text("name: mine\n")
    with pytest.raises(ValueError, match="mine.yaml does not say where the data are; give a line `data: FILE, F"):
        OwnTask.read(path)
    path.write_text("data: [")
    with pytest.raises(ValueError, match="mine.yaml is no YAML"):
        OwnTask.read(path)
    with pytest.raises(ValueError, match="There is no file .*none.yaml. Write it with --spec-only"):
        OwnTask.read(tmp_path / "none.yaml")


def test_the_command_learns_one_own_task_and_then_another(pets, vilt_folder, tmp_path, capsys):
    output = tmp_path / "out"
    columns = ["--image-column", "photo", "--label-column", "animal"]
    options = ["--backbone", str(vilt_folder), "--output", str(output), *TINY, "--recipe", "paper"]
    assert main(["learn", "--data", str(pets), *columns, *options]) == 0
    shown = capsys.readouterr().out
    assert (
        f"pets: reads 'photo', learns 'animal' (2 classes: cat, dog), from {pets}  ({output / 'pets.yaml'})" in shown
    )
    first = (output / "pets" / "adapter_model.safetensors").read_bytes()

    assert main(["learn", "--data", str(pets), *columns, "--task", "edited", "--spec-only", *options]) == 0
    assert not (output / "edited").exists() and "edited.yaml" in capsys.readouterr().out
    written = output / "edited.yaml"
    written.write_text("# my own order\n" + written.read_text().replace("- cat\n- dog", "- dog\n- cat"))
    assert main(["learn", "--spec", str(written), *options]) == 0
    assert written.read_text().startswith("# my own order"), "an edited file stays as it is"
    results = json.loads((output / "results.json").read_text())
    assert [task["name"] for task in results["tasks"]] == ["pets", "edited"]
    assert results["tasks"][1]["experience"] == ["pets"] and len(results["matrix"][1]) == 2
    assert json.loads((output / "edited/task.json").read_text())["label_names"] == ["dog", "cat"]
    assert (output / "pets" / "adapter_model.safetensors").read_bytes() == first
    capsys.readouterr()
    assert main(["evaluate", str(output)]) == 0
    scores = [
        f"{name}: accuracy {score:.4f} " for name, score in zip(["pets", "edited"], results["matrix"][1], strict=True)
    ]
    assert all(score in line for score, line in zip(scores, capsys.readouterr().out.splitlines(), strict=True))

    before = (output / "pets.yaml").read_text()
    changed = ["--data", str(pets), "--image-column", "photo", "--label-column", "what", "--task", "pets"]
    assert main(["learn", *changed, *options]) == 2
    assert "a task needs two labels or more" in capsys.readouterr().err
    assert main(["learn", "--data", str(pets), *columns, "--text-column", "what", *options]) == 2
    assert "holds ['pets'] with another TaskSpec" in capsys.readouterr().err
    assert (output / "pets.yaml").read_text() == before


def test_errors_of_the_command(pets, vilt_folder, tmp_path, capsys):
    def fails(*arguments):
        assert main(["learn", "--output", str(tmp_path / "out"), *arguments]) == 2
        return capsys.readouterr().err

    columns = ["--image-column", "photo", "--label-column", "animal"]
    assert "Own data need --backbone, as " in fails("--data", str(pets), *columns)
    backbone = ["--backbone", str(vilt_folder)]
    assert "no column 'kind'; found were" in fails("--data", str(pets), "--label-column", "kind", *backbone)
    assert "Task name 'my.task' is not allowed" in fails("--data", str(pets), "--task", "my.task", *columns)
    assert "--sources is vqa=me/vqa; give TASK=PLACE" in fails("--sources", "vqa=me/vqa", "--smoke")
