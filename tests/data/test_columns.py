"""What a user's data are read as: no column that gives the label away, and no guess."""

import json
import logging

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, LargeList, Value

from atlas_hf.cli import main
from atlas_hf.data.columns import label_to_learn
from atlas_hf.data.own_data import infer_spec, own_task
from shared.tiny import picture

COUNT = 40
LABELS = [(i * 7 + i // 3) % 3 for i in range(COUNT)]
TEXTS = [f"what number {i} says" for i in range(COUNT)]
FINE = [f"{'abc'[label]} {i % 2}" for i, label in enumerate(LABELS)]
UUIDS = [f"{i:08x}-0000-4000-8000-000000000000" for i in range(COUNT)]


def rows(**columns):
    return Dataset.from_dict({"text": TEXTS, "label": LABELS} | columns)


def test_b2_the_labels_other_spelling_is_no_input(caplog):
    data = rows(label_text=[("bad", "fair", "good")[label] for label in LABELS])
    spec, _ = own_task(data, "mine")
    assert spec.text_columns == ("text",) and spec.label_column == "label"
    assert caplog.messages == [
        "Read: 'text'; the label: 'label'. Left: 'label_text' tells the label: each goes with one value of the other."
    ]
    with pytest.raises(ValueError, match=r"no column that the model could read. Left: 'label_text' tells the label"):
        own_task(data.remove_columns("text"), "mine")
    assert infer_spec(data, "mine", text_columns="label_text").text_columns == ("label_text",), "who says so gets it"


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("name", ["xyz"[label] for label in LABELS], "tells the label"),
        ("coarse", ["xyx"[label] for label in LABELS], "tells the label"),
        ("fine", FINE, "tells the label"),
        ("gaps", [None if i % 9 == 0 else "xyz"[label] for i, label in enumerate(LABELS)], "tells the label"),
        ("digits", [str(label) for label in LABELS], "tells the label"),
        ("id", [f"word{i}x" for i in range(COUNT)], "is called as an identifier is"),
        ("user_id", ["ann", "bob", "ann", "cid"] * 10, "is called as an identifier is"),
        ("who", UUIDS, "holds identifiers, such as"),
        ("running", [str(i) for i in range(COUNT)], "holds identifiers, such as '0'"),
        ("numbered", [f"img-{i:05}" for i in range(COUNT)], "holds identifiers, such as 'img-00000'"),
        ("photo", [f"IMG {i % 9}.JPG" for i in range(COUNT)], "holds identifiers, such as 'IMG 0.JPG'"),
        ("from", [f"https://a.example/{i % 7}" for i in range(COUNT)], "holds identifiers, such as 'https"),
        ("prompt", ["what is it"] * COUNT, "holds 'what is it' in every row"),
        ("nothing", [None] * COUNT, "holds null, no texts"),
        ("price", [1.5] * COUNT, "holds float64, no texts"),
        ("tags", [["a"]] * COUNT, "holds List, no texts"),
    ],
)
def test_b2_siblings_are_left_and_named(name, values, reason, caplog):
    assert infer_spec(rows(**{name: values}), "mine").text_columns == ("text",)
    assert f"Left: {name!r} {reason}" in caplog.text


def test_b2_the_right_choice_is_no_input(caplog):
    choices = [[f"{i} x", f"{i} y", f"{i} z"] for i in range(COUNT)]
    right = [given[label] for given, label in zip(choices, LABELS, strict=True)]
    spec = infer_spec(rows(ways=choices, answer=right), "mine", choices_column="ways")
    assert spec.text_columns == ("text",) and spec.num_choices == 3
    assert "'answer' holds the right choice" in caplog.text


def test_b2_a_sorted_data_set_is_no_label_in_disguise():
    data = Dataset.from_dict({"text": ["so", "or", "so"] * 20, "label": [0] * 30 + [1] * 30})
    assert infer_spec(data, "mine").text_columns == ("text",)


def test_several_texts_are_asked_about_and_a_lone_one_is_taken(caplog):
    caplog.set_level(logging.INFO)
    data = rows(more=[f"{text} again" for text in TEXTS], n=[1] * COUNT)
    error = (
        r"Which of the columns 'text', 'more' shall the model read\? Left: 'n' holds int64, no texts. Name "
        r"text_columns \(--text-column"
    )
    with pytest.raises(ValueError, match=error):
        infer_spec(data, "mine")
    assert infer_spec(data, "mine", text_columns=["more", "text"]).text_columns == ("more", "text")
    infer_spec(rows(), "mine")
    assert "Read: 'text'; the label: 'label'." in caplog.text


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ([float(label) for label in LABELS], "holds whole numbers as fractions, such as 0.0: classes, .* or amounts"),
        ([None if i == 3 else float(label) for i, label in enumerate(LABELS)], "classes, with empty cells perhaps"),
        (list(range(COUNT)), "holds another label in every row, such as 0; classes occur more than once"),
        ([1] * COUNT, r"holds \['1'\]; a task needs two labels or more"),
        ([{"a": 1}] * COUNT, "no labels. Name another label_column"),
    ],
)
def test_labels_that_would_be_guessed_at(labels, error):
    with pytest.raises(ValueError, match=f"The column 'label' holds.*{error}" if "holds" not in error else error):
        own_task(rows(label=labels), "mine")


def test_faults_of_the_users_own_rows_are_named_before_rows_are_held_out():
    good = rows(label=["no", "yes"] * 20)
    bad = Dataset.from_dict({"text": ["a", None, "c"], "label": ["no", "maybe", None]})
    with pytest.raises(ValueError, match="its data have 3 faults") as caught:
        own_task(DatasetDict(train=good, test=bad), "mine")
    assert "row 1 of 'test' has the label 'maybe' in 'label'; label_names are no, yes" in str(caught.value)
    assert "row 1 of 'test' has a text that is not a string: None" in str(caught.value)
    assert "row 2 of 'test' has None in 'label'" in str(caught.value)


def test_c7_large_lists_are_several_labels():
    features = Features({"text": Value("large_string"), "label": LargeList(Value("string"))})
    data = Dataset.from_dict({"text": TEXTS, "label": [["x"], ["x", "y"]] * 20}, features)
    spec, splits = own_task(data, "mine")
    assert (spec.problem_type, spec.label_names) == ("multi_label_classification", ("x", "y"))
    assert sorted(map(len, splits["train"]["label"])) == [1] * 18 + [2] * 18
    classes = Features({"text": Value("string"), "label": LargeList(ClassLabel(names=["x", "y"]))})
    assert infer_spec(Dataset.from_dict({"text": TEXTS, "label": [[0]] * COUNT}, classes), "m").label_names == (
        "x",
        "y",
    )


def test_c7_a_torch_formatted_data_set_is_read_as_a_plain_one():
    plain, formatted = own_task(rows(), "mine"), own_task(rows().with_format("torch"), "mine")
    assert plain[0] == formatted[0] and plain[1]["train"][:] == formatted[1]["train"][:]


@pytest.mark.parametrize("depth", ["", "train"])
def test_c7_an_imagefolder_without_classes_is_explained(depth, tmp_path, capsys):
    folder = tmp_path / "shapes" / depth
    folder.mkdir(parents=True)
    for i in range(4):
        picture().save(folder / f"{i}.png")
    line = ["learn", "--data", str(tmp_path / "shapes"), "--backbone", "me/none", "--output", str(tmp_path / "out")]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert "The data hold images ('image') and no labels. Put the images into one folder per label" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"text;label\na;x\nb;y\n", "There is a single column, 'text;label': is the table separated by commas?"),
        (b"text,label\na,x\nb,y,z,z\n", "cannot be read as a table: .*Expected 2 fields in line 3, saw 4"),
        ("text,label\nä,x\n".encode("latin-1"), "cannot be read as a table: .*utf-8.* Give a CSV in UTF-8"),
        (b"", "cannot be read as a table: No columns to parse"),
        (b"text,label\n", "There is nothing to read in .*no data"),
    ],
)
def test_tables_that_cannot_be_read(content, error, tmp_path):
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(ValueError, match=error):
        own_task(tmp_path, "mine")


def test_a_table_with_a_byte_order_mark(tmp_path):
    lines = "".join(f"{text},{label}\n" for text, label in zip(TEXTS, LABELS, strict=True))
    (tmp_path / "train.csv").write_bytes(b"\xef\xbb\xbftext,label\n" + lines.encode())
    assert own_task(tmp_path, "mine")[0].text_columns == ("text",)


def test_numbers_are_texts_if_they_are_said_to_be(tmp_path):
    (tmp_path / "train.csv").write_text("code,label\n" + "007,x\n12,y\n" * 10)
    (tmp_path / "test.csv").write_text("code,label\nabc,x\n007,y\n")
    _, data = own_task(tmp_path, "mine", text_columns="code")
    assert set(data["train"]["code"]) == {"007", "12"} and list(data["test"]["code"]) == ["abc", "007"]
    (tmp_path / "test.csv").write_text("code,label\n,x\n007,y\n")
    with pytest.raises(ValueError, match="row 0 of 'test' has a text that is not a string: None"):
        own_task(tmp_path, "mine", text_columns="code")


def test_json_of_mixed_types(tmp_path):
    lines = [{"text": "a", "label": "x"}, {"text": 3, "label": "y"}] * 5
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match=r"no column that the model could read. Left: 'text' holds"):
        own_task(tmp_path, "mine")


def test_a_pair_of_images_and_no_text(caplog):
    features = Features({"a": Image(), "b": Image(), "kind": ClassLabel(names=["no", "yes"]), "note": Value("string")})
    given = {"a": [picture()] * 4, "b": [picture()] * 4, "kind": [0, 1, 1, 0], "note": ["x y"] * 4}
    spec = infer_spec(Dataset.from_dict(given, features), "pairs")
    assert (spec.image_columns, spec.text_columns) == (("a", "b"), ())
    assert "Read: 'a', 'b'; the label: 'kind'. Left: 'note' holds 'x y' in every row." in caplog.text


@pytest.mark.parametrize("values", [["good", "bad"], [0, 1], [1, 2, 3, 4, 5], [True, False], ["good", "bad", None]])
def test_of_two_columns_the_one_of_few_values_is_the_label(values):
    count = 20 * len(values)
    rows = Dataset.from_dict({"sentiment": values * 20, "text": [f"number {i} it is" for i in range(count)]})
    assert label_to_learn(rows) == "sentiment"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": ["a b", "c d"] * 10, "kind": ["x", "y"] * 10}, "both are of few values"),
        ({"text": [f"a {i}" for i in range(20)], "kind": ["v", "w", "x", "y", "z"] * 4}, "too few of each"),
        ({"text": [f"a {i}" for i in range(20)], "rating": [0.5, 1.5] * 10}, "fractions"),
        ({"text": [f"a {i}" for i in range(20)], "kind": ["x"] * 20}, "one value"),
        ({"text": [f"a {i}" for i in range(20)], "kind": ["x", "y"] * 10, "who": ["m", "n"] * 10}, "three columns"),
    ],
)
def test_where_more_than_one_could_be_meant_the_user_is_asked(columns, reason):
    with pytest.raises(ValueError, match="Which column is the label"):
        label_to_learn(Dataset.from_dict(columns))


def test_a_table_without_labels():
    with pytest.raises(
        ValueError, match="There is a single column, 'text', and so no label to learn.*atlas-hf predict"
    ):
        label_to_learn(Dataset.from_dict({"text": ["a b", "c"]}))
