"""`atlas-hf learn --data` with data that cannot be learned from: one message, before anything is written."""

import csv

import pytest

from atlas_hf.cli import main
from shared.tiny import picture

COLUMNS = ["--image-column", "photo", "--text-column", "what", "--label-column", "animal"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pets").mkdir()
    for split in ("train", "test"):
        for i in range(6):
            picture(("red", "blue")[i % 2], (64, 64)).save(tmp_path / f"pets/{split}-{i}.jpg")
    return tmp_path / "pets"


def spoil(folder, split):
    """A CSV per split; one of them with an empty cell, an image that breaks off, and a text called .png."""
    for name in ("train", "test"):
        rows = [[f"{name}-{i}.jpg", f"is it {i} ?", ("dog", "cat")[i % 2]] for i in range(6)]
        if name == split:
            rows[1][1] = ""
            (folder / rows[2][0]).write_bytes((folder / rows[2][0]).read_bytes()[:-200])
            rows[3][0] = "text.png"
            (folder / "text.png").write_text("a text")
            rows[4][0] = "none.jpg"
            rows[5][0] = ""
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["photo", "what", "animal"], *rows])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("options", [[], ["--spec-only"]])
def test_c4_an_empty_cell_and_broken_images_are_listed_before_anything_is_written(
    split, options, folder, vilt_folder, tmp_path, capsys
):
    spoil(folder, split)
    output = tmp_path / "out"
    line = [
        "learn",
        "--data",
        str(folder),
        *COLUMNS,
        "--backbone",
        str(vilt_folder),
        "--output",
        str(output),
        *options,
    ]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert "Task 'pets': its data have 5 faults. Rows count from 0." in error
    assert f"- row 1 of '{split}' has a text that is not a string: None. Give strings in 'what'" in error
    assert f"- row 2 of '{split}' has in 'photo' an image that cannot be read, " in error
    assert f"- row 3 of '{split}' has in 'photo' an image that cannot be read, " in error and "text.png" in error
    assert f"- row 4 of '{split}' has an image in 'photo' that is not there: no file " in error
    assert f"- row 5 of '{split}' has no image in 'photo'. Give one, or leave the row out." in error
    assert "Traceback" not in error and not output.exists()


def test_b2_the_command_says_what_it_reads_and_takes_no_text_if_told_so(folder, tmp_path, capsys, caplog):
    spoil(folder, None)
    line = [
        "learn",
        "--data",
        str(folder),
        "--label-column",
        "animal",
        "--spec-only",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*line, "--text-column", ""]) == 0
    shown = capsys.readouterr().out
    assert "image_columns:\n- photo" in shown and "text_columns" not in shown
    for name in ("train", "test"):
        table = (folder / f"{name}.csv").read_text().splitlines()
        lines = [f"{line},{line.rpartition(',')[2]}s" for line in table]
        (folder / f"{name}.csv").write_text("\n".join(lines))
    assert main(line) == 0
    assert "text_columns:\n- what\n" in capsys.readouterr().out
    assert "Read: 'photo', 'what'; the label: 'animal'. Left: 'animals' tells the label" in caplog.text


def image_folder(place):
    for label in ("cat", "dog"):
        (place / label).mkdir(parents=True)
        for i in range(8):
            picture(("red", "blue")[i % 2], (20 + i, 20)).save(place / label / f"{i}.png")
    return place


@pytest.mark.parametrize("inside", [".", "out", "../link"])
def test_an_output_in_the_data_is_refused_as_its_pictures_would_be_a_class_of_the_next_run(
    inside, vilt_folder, tmp_path, capsys
):
    data = image_folder(tmp_path / "pets")
    (tmp_path / "link").symlink_to(data)
    before = sorted(tmp_path.rglob("*"))
    line = ["learn", "--data", str(data), "--backbone", str(vilt_folder), "--output", str(data / inside)]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert f"lies in the data {data}" in error and "Give an --output outside of the data." in error
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_cannot_be_written_is_told_with_what_to_do(tmp_path, capsys):
    data, output = image_folder(tmp_path / "pets"), tmp_path / "file"
    output.write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    for place in (output, output / "below", tmp_path / "loop", tmp_path / ("y" * 300)):
        assert main(["learn", "--data", str(data), "--backbone", "me/none", "--output", str(place)]) == 2
        error = capsys.readouterr().err
        assert f"{place} cannot be written (" in error and "Nothing was learned" in error
    assert output.read_text() == "mine"


def test_data_whose_name_can_be_no_task_are_told_to_be_named(tmp_path, capsys, monkeypatch):
    data = image_folder(tmp_path / "Haustiere ü")
    line = ["learn", "--data", str(data), "--spec-only", "--output", str(tmp_path / "out")]
    assert main(line) == 2
    assert "The data are called 'Haustiere ü': give --task NAME." in capsys.readouterr().err
    monkeypatch.chdir(image_folder(tmp_path / "pets"))
    assert main(["learn", "--data", ".", "--spec-only", "--output", str(tmp_path / "out")]) == 0
    assert "name: pets" in capsys.readouterr().out
