"""The paper's stream: every task's columns, as the Hub has them, through the real `load_dataset`."""

import json
from collections import Counter
from itertools import chain

import pytest

from atlas_hf import streams
from atlas_hf.cli import main
from atlas_hf.data.own_data import own_task
from atlas_hf.streams import climb
from atlas_hf.streams.climb.tasks import ANSWERS_ID, TASKS
from shared.climb_data import ANSWERS, REPOS, files, publish
from shared.hub_server import loopback_hub

SIZES = {"train_size": 12, "validation_size": 4, "test_size": 6}
EVERY = [*climb.ORDERS["multi-first"], *climb.DOWNSTREAM, *climb.LOW_SHOT]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with loopback_hub(tmp_path_factory.mktemp("home")) as hub:
        publish(hub)
        hub.store.create("model", ANSWERS_ID)
        config = {"model_type": "vilt", "id2label": dict(enumerate(ANSWERS))}
        hub.foreign_commit(ANSWERS_ID, {"config.json": json.dumps(config).encode()})
        yield hub


@pytest.fixture
def places(tmp_path):
    """A folder with the columns of Places365, as a copy of one's own would be."""
    for name, content in files(REPOS["ljnlonoljpiljm/places365-256px"]).items():
        path = tmp_path / "places" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(tmp_path / "places")


def test_the_stream_has_the_interface_of_a_stream():
    digits = streams.get("digits")
    for name in ("SIZES", "WIDTH", "TRAINING", "THREADS", "SMOKE_SIZES", "SMOKE_TRAINING", "BENCHMARK_SIZES",
                 "BENCHMARK_TRAINING", "LOW_SHOT_SIZES", "LOW_SHOT_TRAINING", "BACKBONE_ID", "ORDERS", "DOWNSTREAM",
                 "load", "load_downstream", "load_task", "low_shot"):  # fmt: skip
        assert type(getattr(climb, name)) is type(getattr(digits, name))
    assert climb.SIZES.keys() == digits.SIZES.keys() and sorted(EVERY) == sorted(TASKS)


@pytest.mark.parametrize("name", EVERY)
def test_every_task_is_read_from_the_hub(name, hub, places):
    spec, data = climb.load_task(name, **SIZES, sources={"inaturalist": places})
    assert list(data) == ["train", "validation", "test"]
    assert (spec.dataset_id is None) == (name == "inaturalist"), "a local folder is not for the card"
    assert [len(rows) for rows in data.values()] == list(SIZES.values())
    for split, rows in data.items():
        assert rows.features == spec.features
        spec.check_dataset(rows, split)
    assert all(rows[0][column].size == (24, 16) for rows in data.values() for column in spec.image_columns)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("snli-ve", {"hypothesis": "a 5", "label": 2}),
        ("piqa", {"goal": "open 5", "choices": ["a 5", "b 5"], "label": 1}),
        ("vqa", {"question": "what is 5 ?", "answers": [2, 0], "scores": [1.0, 0.6]}),
        ("vcr", {"question": "why 5 ?", "answer_choices": ["a", "b", "c", "d"], "answer_label": 1}),
        ("commonsense-qa", {"question": "where 5 ?", "choices": ["v", "w", "x", "y", "z"], "label": 0}),
        ("nlvr2", {"sentence": "two 5", "label": 1}),
        ("hellaswag", {"context": "he 5", "choices": ["a", "b", "c", "d"], "label": 1}),
        ("imdb", {"text": "film 5", "label": 1}),
        ("sst2", {"sentence": "film 5", "label": 1}),
    ],
)
def test_a_row_holds_what_the_data_set_says(name, expected, hub):
    spec, data = climb.load_task(name, **SIZES | {"test_size": None})
    text = spec.text_columns[0]
    (row,) = (row for row in data["test"] if row[text] == expected[text])
    assert {column: row[column] for column in expected} == expected
    shades = [row[column].convert("RGB").getpixel((0, 0))[0] for column in spec.image_columns]
    assert shades == [5, 105][: len(shades)]


def test_objects_are_several_labels_each_named_once(hub):
    spec, data = climb.load_task("coco-objects", **SIZES)
    assert spec.label_names == ("person", "dog", "kite")
    labels = {row["image"].convert("RGB").getpixel((0, 0))[0] % 2: row["label"] for row in data["test"]}
    assert labels == {0: [0, 2], 1: [1, 2]}


def test_rows_without_a_label_are_left_out(hub):
    _, data = climb.load_task("snli-ve", train_size=None, validation_size=None)
    assert [len(rows) for rows in data.values()] == [23, 23, 23]
    assert "a 7" not in data["train"]["hypothesis"]
    _, data = climb.load_task("commonsense-qa", train_size=None, validation_size=4)
    assert sum(map(len, data.values())) == 23 + 23


def test_a_held_out_split_shares_nothing_with_training(hub):
    spec, data = climb.load_task("places365", train_size=None, validation_size=5, test_size=6)
    shades = [[image.convert("RGB").getpixel((0, 0))[0] for image in rows["image"]] for rows in data.values()]
    assert [len(part) for part in shades] == [13, 5, 6]
    assert sorted(chain(*shades)) == list(range(24))
    assert spec.label_names[1] == "balcony/interior"


def test_a_streamed_sample_is_drawn_from_all_files_by_seed(hub):
    """Of 24 rows in four files, sorted by class: the first rows would be of one class."""

    def drawn(seed):
        _, data = climb.load_task("places365", 4, 2, 2, seed=seed)
        return [image.convert("RGB").getpixel((0, 0))[0] for rows in data.values() for image in rows["image"]]

    rows = drawn(0)
    assert rows == drawn(0) and set(rows) != set(drawn(1))
    assert Counter(row // 6 for row in rows) == dict.fromkeys(range(4), 2), "two rows of each file, none twice"
    assert len(set(rows)) == 8


def test_only_the_sample_of_a_large_data_set_is_fetched(hub):
    before = len(hub.log)
    climb.load_task("nlvr2", 1, 1, 1, seed=9)
    read = {entry.path for entry in list(hub.log)[before:] if entry.method == "GET" and "/train-" in entry.path}
    assert 1 <= len(read) <= 3, "the first file for its columns, and one for each row"


def test_images_are_opened_when_a_row_is_read_not_before(hub):
    repo = "me/broken-places"
    hub.store.create("dataset", repo)
    features, row = REPOS["ljnlonoljpiljm/places365-256px"]["train"]
    broken = {"train": (features, lambda i: row(i) | {"image": {"bytes": b"not an image", "path": None}})}
    hub.foreign_commit(repo, files(broken), kind="dataset")
    _, data = climb.load_task("places365", 8, 2, 2, sources={"places365": repo})
    assert data["train"]["label"][:]
    with pytest.raises(Exception, match="cannot identify image file"):
        data["train"][0]


def test_a_column_that_is_missing_upstream(hub):
    repo = "me/other-piqa"
    hub.store.create("dataset", repo)
    features, row = REPOS["ybisk/piqa"]["train"]
    features = {("goal_text" if name == "goal" else name): kind for name, kind in features.items()}

    def changed(i):
        return {"goal_text": "x"} | {name: value for name, value in row(i).items() if name != "goal"}

    hub.foreign_commit(repo, files({"train": (features, changed)}), kind="dataset")
    text = "Task 'piqa': me/other-piqa has no column 'goal' in its split 'train'; found were 'goal_text', 'sol1'"
    with pytest.raises(ValueError, match=text):
        climb.load_task("piqa", sources={"piqa": repo})


def test_a_data_set_that_is_not_there(hub):
    with pytest.raises(ValueError, match="Task 'vcr': .*me/nothing.*visualcommonsense.com.*answer_choices"):
        climb.load_task("vcr", sources={"vcr": "me/nothing"})
    with pytest.raises(ValueError, match="Task 'inaturalist' needs a data set of your own.*sources inaturalist="):
        climb.load_task("inaturalist")
    with pytest.raises(ValueError, match="There is no task 'nothing' here; possible are snli-ve"):
        climb.load_task("vqa", sources={"nothing": "me/x"})
    with pytest.raises(ValueError, match="Order 'first' does not exist; possible are multi-first, mono-first"):
        climb.load("first")


def test_the_command_learns_it_in_the_setting_of_the_paper(hub, vilt_folder, tmp_path, monkeypatch, capsys):
    """Two of its tasks, 6 examples each, on a tiny ViLT; then their scores again from the folder."""
    monkeypatch.setitem(climb.SIZES, "validation_size", 4)
    output = str(tmp_path / "out")
    options = ["--stream", "climb", "--order", "mono-first", "--backbone", str(vilt_folder), "--low-shot", "6"]
    tiny = "--tasks snli-ve piqa --max_steps 1 --dataloader_num_workers 0 --disable_tqdm True".split()
    place = ["--sources", "piqa=ybisk/piqa"]  # the same data on its main branch
    assert main(["learn", *options, *tiny, *place, "--output", output]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    learned = [(task["name"], task["train_examples"], task["experience"]) for task in results["tasks"]]
    assert learned == [("piqa", 6, []), ("snli-ve", 6, ["piqa"])]
    paper = {"learning_rate": 5e-4, "adam_epsilon": 1e-4, "num_train_epochs": 20.0, "r": 48, "weight_decay": 0.01}
    assert {name: results["settings"][name] for name in paper} == paper
    about = {"stream": "climb", "order": "mono-first", "low_shot": 6, "train_size": 6, "test_size": None}
    assert about.items() <= results["description"].items()
    capsys.readouterr()
    assert main(["evaluate", output, "--tasks", "piqa"]) == 0
    assert f"piqa: accuracy {results['matrix'][1][0]:.4f}" in capsys.readouterr().out


def test_a_data_set_on_the_hub_is_a_task_of_ones_own(hub):
    spec, data = own_task("stanfordnlp/imdb", "films")
    assert (spec.problem_type, spec.text_columns) == ("single_label_classification", ("text",))
    assert spec.label_names == ("neg", "pos")
    assert {split: len(rows) for split, rows in data.items()} == {"train": 24, "test": 24}
