"""The look at all data before a training: what it finds, in one message, before anything else is done."""

import io

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, LargeList, List, Value
from datasets import Image as ImageFeature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from atlas_hf import AtlasTrainer, TaskSpec, learn_sequence
from atlas_hf.data import AtlasCollator, Encoder, looking
from atlas_hf.data.looking import look_at
from atlas_hf.training import evaluate_task
from shared.comparing import Unchanged
from shared.tiny import CHOICE, NUMBER, PAIR, SOFT, make_tokenizer, picture, quick, splits, text_spec

PICTURE = text_spec("seen", text_columns=[], image_columns=["image"])


def file_of(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


GOOD = file_of(picture())
NOISE = file_of(Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)))
IMAGES = Features({"image": ImageFeature(), "label": Value("int64")})


def images(*files, labels=(0, 1)):
    rows = {"image": [None if file is None else {"bytes": file, "path": None} for file in files]}
    return Dataset.from_dict(rows | {"label": [labels[i % len(labels)] for i in range(len(files))]}, IMAGES)


def texts(*values, **columns):
    return Dataset.from_dict({"text": list(values), "label": [i % 2 for i in range(len(values))]} | columns)


def faults(spec, **rows):
    with pytest.raises(ValueError, match=f"^Task '{spec.name}': ") as caught:
        look_at(spec, rows)
    return str(caught.value)


def test_c4_faults_of_all_splits_are_one_message(tmp_path):
    (tmp_path / "text.png").write_text("a text")
    bad = Dataset.from_dict(
        {"image": [None, {"path": str(tmp_path / "none.png"), "bytes": None}, {"path": None, "bytes": NOISE[:900]},
                   {"path": str(tmp_path / "text.png"), "bytes": None}], "label": [0, 1, 7, 0]}, IMAGES,
    )  # fmt: skip
    found = faults(PICTURE, train=images(GOOD, NOISE), validation=images(GOOD), test=bad).splitlines()
    assert found[0] == "Task 'seen': its data have 5 faults. Rows count from 0."
    assert found[1] == "- row 0 of 'test' has no image in 'image'. Give one, or leave the row out."
    assert found[2].startswith("- row 1 of 'test' has an image in 'image' that is not there: no file ")
    assert found[3].startswith(
        "- row 2 of 'test' has in 'image' an image that cannot be read, 900 bytes: image file is"
    )
    assert found[4] == (
        "- row 2 of 'test' has 7 in 'label'; possible are the whole numbers 0 to 1. Map the labels to class ids, and "
        "leave unlabelled rows out."
    )
    assert found[5].startswith("- row 3 of 'test' has in 'image' an image that cannot be read, '")
    assert "text.png" in found[5] and found[5].endswith("Replace it, or leave the row out.")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_c4_an_empty_cell_is_found_before_anything_is_trained_or_written(split, bert, tmp_path):
    data = splits("a", 8, 4)
    data[split] = Dataset.from_dict({"text": [*data[split]["text"][:3], None], "label": [0, 1, 0, 1]})
    error = f"row 3 of '{split}' has a text that is not a string: None. Give strings in 'text'"
    with Unchanged(bert), pytest.raises(ValueError, match=error):
        learn_sequence(
            bert, [(text_spec("one"), splits("b", 8, 4)), (text_spec("two"), data)], quick(), tmp_path / "o"
        )
    assert not (tmp_path / "o").exists() and not bert.tasks


def test_c4_the_trainer_and_an_evaluation_look_too(vilt, tmp_path):
    vilt.add_task(PICTURE)
    bad = images(GOOD, NOISE[:900])
    for train, validation, split in ((bad, None, "train"), (images(GOOD, NOISE), bad, "validation")):
        with (
            Unchanged(vilt),
            pytest.raises(ValueError, match=f"row 1 of '{split}' has in 'image' an image that cannot"),
        ):
            AtlasTrainer(vilt, quick(tmp_path), "seen", train, validation)
    with pytest.raises(ValueError, match="row 1 of 'validation' has in 'image' an image that cannot be read"):
        evaluate_task(vilt, "seen", bad, quick(tmp_path))


def test_the_first_ten_of_many_faults_are_listed_and_all_are_counted():
    found = faults(text_spec("one"), train=texts(*["a"] * 50, *[None] * 30), test=texts(None)).splitlines()
    assert found[0] == "Task 'one': its data have 31 faults, of which these are the first 10. Rows count from 0."
    assert len(found) == 11 and found[-1].startswith("- row 59 of 'train' has a text")


def test_every_image_is_decoded_once_and_every_split_looked_at_once(monkeypatch):
    decoded = []
    decode = ImageFeature.decode_example
    monkeypatch.setattr(ImageFeature, "decode_example", lambda *a: decoded.append(a[1]) or decode(*a))
    train, test = images(GOOD, NOISE, GOOD, NOISE), images(NOISE)
    look_at(PICTURE, {"train": train})
    assert len(decoded) == 2
    look_at(PICTURE, {"train": train, "test": test})
    assert len(decoded) == 3, "what was found good is not looked at again"
    look_at(text_spec("other", text_columns=[], image_columns=["image"]), {"test": test})
    assert len(decoded) == 4, "another task may need other columns"


def test_a_long_look_has_a_bar_unless_it_is_quiet(monkeypatch, capfd):
    bar = looking.tqdm
    monkeypatch.setattr(looking, "tqdm", lambda **given: bar(**given | {"delay": 0, "mininterval": 0}))
    look_at(text_spec("one"), {"train": texts("a", "b")}, quiet=True)
    assert capfd.readouterr().err == ""
    look_at(text_spec("one"), {"train": texts("a", "b")})
    assert "Looking at the data of 'one'" in capfd.readouterr().err
    monkeypatch.undo()
    look_at(text_spec("one"), {"train": texts("a", "b")})
    assert capfd.readouterr().err == "", "a short one has none"


@pytest.mark.parametrize(
    ("spec", "rows", "error"),
    [
        (text_spec("x"), texts(1, 2), "'text' of 'train' holds int64, no texts; cast it: dataset.cast_column"),
        (text_spec("x"), texts(None, None), "2 faults(?s:.)*row 1 of 'train' has a text that is not a string: None"),
        (text_spec("x", **CHOICE), texts("a", choices=[[1, 2, 3]]), "'choices' .* lists of int64, no lists of texts"),
        (text_spec("x", **CHOICE), texts("a", choices=[None]), "row 0 .* has None as choices; the task has 3"),
        (text_spec("x", **CHOICE), texts("a", choices=[["a", None, "c"]]), "not a string: None. Give .* in 'choices'"),
        (PICTURE, texts("a", image=["a.png"]), "'image' of 'train' holds string, no images; cast it: .*Image()"),
        (PICTURE, images(GOOD).cast_column("image", ImageFeature(decode=False)), "holds Image, no images; cast it"),
        (PICTURE, images(file_of(Image.new("F", (4, 4), 7.0), "TIFF")), "be read, .* from 7.0 to 7.0 is no image"),
        (text_spec("x"), texts("a", "b", label=[1, 1]), "'train' holds the label 'yes' only, in all of its 2 rows of"),
        (text_spec("x", **SOFT), texts("a", label=[[]], scores=[[]]), "'train' has no label in any row of 'label'"),
        (text_spec("x", **NUMBER), texts("a", label=[float("nan")]), "has nan in 'label'; give finite numbers"),
        (text_spec("x"), texts("a", label=[1.0]), "has 1.0 in 'label'; possible are the whole numbers"),
        (text_spec("x"), texts("a", "b", label=[0, None]), "row 1 .* has None in 'label'; possible are the whole"),
        (text_spec("x"), texts("a").select([]), "the split 'train' is empty"),
        (text_spec("x", text_columns=["b"]), texts("a"), "the split 'train' has no column 'b'; it has 'text'"),
    ],
)  # fmt: skip
def test_what_is_a_fault(spec, rows, error):
    with pytest.raises(ValueError, match=f"Task '{spec.name}': .*{error}"):
        look_at(spec, {"train": rows})


def test_what_is_none(tmp_path):
    look_at(text_spec("one"), {"train": texts("", " ")})  # what is empty on purpose
    look_at(text_spec("one"), {"test": texts("a", "b", label=[1, 1])})  # one class, but not to learn from
    elsewhere = {"image": [{"path": "https://nowhere.invalid/a.png", "bytes": None}], "label": [0]}
    look_at(PICTURE, {"test": Dataset.from_dict(elsewhere, IMAGES)})  # is not fetched
    seen = []
    made = images(GOOD, NOISE[:900]).with_transform(lambda rows: seen.append(len(rows)) or rows)
    with pytest.raises(OSError, match="truncated"):  # the user's own function sees what is there
        look_at(PICTURE, {"train": made})


@pytest.mark.parametrize("form", ["torch", "numpy"])
def test_c7_a_torch_formatted_data_set_is_learned_as_a_plain_one(form, vilt, tmp_path):
    palette = file_of(Image.open(io.BytesIO(NOISE)).convert("P", palette=Image.Palette.ADAPTIVE))
    rows = images(palette, GOOD, NOISE, palette)
    vilt.add_task(PICTURE)
    plain, formatted = (
        AtlasTrainer(vilt, quick(tmp_path), "seen", train, train) for train in (rows, rows.with_format(form))
    )
    batches = [next(iter(trainer.get_eval_dataloader())) for trainer in (plain, formatted)]
    assert all(torch.equal(batches[0][name], batches[1][name]) for name in batches[0])


@pytest.mark.parametrize("form", ["torch", "numpy", None])
@pytest.mark.parametrize("lists", [List, LargeList])
def test_c7_lists_of_labels_of_every_kind_and_format(form, lists, tmp_path):
    features = Features({"text": Value("string"), "label": lists(Value("int64")), "scores": lists(Value("float32"))})
    rows = {"text": ["a", "b", "c"], "label": [[0, 2], [], [1]], "scores": [[1.0, 0.5], [], [0.25]]}
    data = Dataset.from_dict(rows, features).with_format(form)
    spec = text_spec("many", **SOFT)
    look_at(spec, {"train": data})
    spec.check_dataset(data, "train")
    labels = AtlasCollator(spec, Encoder(make_tokenizer())).labels([data[i] for i in range(3)])
    assert labels.tolist() == [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.25, 0.0]]


CELLS = {
    "text": st.sampled_from(["a", "", "b c", None]),
    "image": st.sampled_from([GOOD, GOOD, NOISE, NOISE[:900], b"", b"a text", None]),
    "choices": st.sampled_from([["a", "b", "c"], ["a"], None, ["a", None, "c"]]),
    "scores": st.sampled_from([[1.0], [0.5], [2.0], [], None]),
}
LABELS = {
    "single_label_classification": st.sampled_from([0, 1, 1, 0, 2, None]),
    "image_pair": st.sampled_from([0, 1, -1]),
    "multiple_choice": st.sampled_from([0, 1, 2, 3]),
    "regression": st.sampled_from([0.5, -1.0, float("nan"), None]),
    "multi_label_classification": st.sampled_from([[0], [2], [3], None]),
}
SPECS = [text_spec("x"), PICTURE, text_spec("x", **CHOICE), text_spec("x", **SOFT), text_spec("x", **NUMBER)]
SPECS += [text_spec("x", image_columns=["image"]), text_spec("x", text_columns=[], **PAIR)]
TYPES = {
    "text": Value("string"), "image": ImageFeature(), "left": ImageFeature(), "right": ImageFeature(),
    "choices": List(Value("string")), "scores": List(Value("float64")),
}  # fmt: skip
FEATURES = {"regression": Value("float64"), "multi_label_classification": List(Value("int64"))}


def cell(value):
    return {"bytes": value, "path": None} if isinstance(value, bytes) else value


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_data_pass_the_look_and_become_batches_or_are_refused(vilt_processor, data):
    spec = data.draw(st.sampled_from(SPECS))
    kinds = {column: CELLS.get(column, CELLS["image"]) for column in spec.columns if column != "label"}
    kinds["label"] = LABELS[spec.problem_type]
    rows = data.draw(st.lists(st.fixed_dictionaries(kinds), min_size=1, max_size=4))
    types = {column: TYPES.get(column, FEATURES.get(spec.problem_type, Value("int64"))) for column in kinds}
    given = {column: [cell(row[column]) for row in rows] for column in kinds}
    dataset = Dataset.from_dict(given, Features(types))
    good = all(
        row.get("text", "") is not None
        and all(row.get(column, GOOD) in (GOOD, NOISE) for column in ("image", "left", "right"))
        for row in rows
    )
    refused = None
    try:
        look_at(spec, {"test": dataset})
    except ValueError as error:
        refused = str(error)
    if refused:
        assert "of 'test' has" in refused
    else:
        assert good
        batch = AtlasCollator(spec, Encoder(vilt_processor))([dataset[i] for i in range(len(dataset))])
        assert len(batch["labels"]) == len(rows)


@pytest.fixture(scope="module")
def vilt_processor(vilt_folder):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(vilt_folder)


def test_class_labels_that_are_missing_are_named():
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, None]}, features)
    spec = TaskSpec("x", "single_label_classification", text_columns=["text"], label_names=["no", "yes"])
    assert "row 2 of 'train' has None in 'label'; possible are the whole numbers 0 to 1" in faults(spec, train=rows)
