"""Files as people have them: one table of any kind, what is said of others, and cells as they are written."""

import csv
import json

import pytest
from datasets import Dataset

from atlas_hf.data.own_data import own_task
from atlas_hf.data.reading import read_splits, read_table
from shared.tiny import picture

ROWS = [{"text": f"number {i}, of them", "label": ("no", "yes")[i % 2]} for i in range(20)]


def write(path, rows=ROWS):
    """As the end of its name says."""
    if path.suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(path)
    elif path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            table.writeheader()
            table.writerows(rows)
    else:
        text = json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows))
        path.write_text(text)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".CSV"])
def test_a_file_of_each_kind_is_a_task(tmp_path, suffix):
    path = write(tmp_path / "x.csv").rename(tmp_path / "x.CSV") if suffix == ".CSV" else write(tmp_path / f"x{suffix}")
    spec, data = own_task(path, "mine")
    assert (spec.text_columns, spec.label_names) == (("text",), ("no", "yes"))
    assert {split: len(rows) for split, rows in data.items()} == {"train": 18, "test": 2}
    assert sorted(text for rows in data.values() for text in rows["text"]) == sorted(row["text"] for row in ROWS)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_paths_of_a_file_are_relative_to_its_folder(tmp_path, suffix):
    picture("red").save(tmp_path / "red.png")
    rows = read_splits(str(write(tmp_path / f"x{suffix}", [{"photo": "red.png", "n": 1}] * 2)))["train"]
    assert rows[0]["photo"].getpixel((0, 0)) == (255, 0, 0) and rows[1]["n"] == 1


def test_texts_that_look_like_numbers_are_texts_in_a_file_of_tabs_too(tmp_path):
    path = write(tmp_path / "x.tsv", [{"text": f"00{i}", "label": i % 2} for i in range(9)])
    assert read_splits(path, text_columns=["text"])["train"]["text"][:2] == ["000", "001"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("moveis.csv", "There is no file '.*moveis.csv'. Did you mean '.*movies.csv'[?]"),
        ("movies.tsv", "There is no file '.*movies.tsv'. Did you mean '.*movies.csv'[?]"),
        ("z.csv", "There is no file '.*z.csv'. In '.*' there is 'broken.jsonl', 'broken.parquet', 'emp"),
        ("none/movies.csv", "There is no folder '.*none' either"),
        ("empty.csv", "empty.csv is empty; give one with a row of column names and rows below it"),
        (
            "movies.xlsx",
            "movies.xlsx is no table that is read; possible are .csv, .tsv, .jsonl, .ndjson, .json",
        ),
        ("broken.jsonl", "broken.jsonl' cannot be read as a table: .* Give one JSON object in every line"),
        ("broken.parquet", "There is nothing to read in '.*broken.parquet': .*not a parquet file"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path, name, text):
    write(tmp_path / "movies.csv")
    for stranger in ("movies.xlsx", "broken.jsonl", "broken.parquet"):
        (tmp_path / stranger).write_text("{nothing")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ValueError, match=text) as caught:
        read_splits(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_here_is_never_looked_for_on_the_hub(tmp_path, monkeypatch):
    """Neither is one that is called like a file, as no data set is."""
    monkeypatch.setattr("atlas_hf.data.reading.load_dataset", lambda *_, **__: pytest.fail("asked"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="There is no file 'movies.csv'. In this folder there is no table. Give"):
        read_splits("movies.csv")


def test_the_cells_of_a_table_stay_as_they_are_written(tmp_path):
    cells = [{"id": "007", "text": "NA", "price": "1.50"}, {"id": "008", "text": "", "price": "x"}]
    for suffix in (".csv", ".tsv"):
        assert read_table(write(tmp_path / f"x{suffix}", cells)).to_list() == cells
    typed = [{"id": 7, "text": None, "price": 1.5}]
    assert read_table(write(tmp_path / "x.jsonl", typed)).to_list() == typed
