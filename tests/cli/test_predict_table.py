"""`atlas-hf predict --input TABLE`: every row in one start, and nothing lost or overwritten."""

import csv
import json

import pytest
from datasets import Dataset

from atlas_hf import AtlasModel
from atlas_hf.cli import main
from atlas_hf.demo import DIGITS_MODEL
from shared.tiny import CHOICE, NUMBER, learned, picture, text_spec

TEXTS = ["a b", "", "c d e", "NA"]


@pytest.fixture(scope="module")
def folder(bert_folder, tmp_path_factory):
    """A task of one class, one of a number, one of two texts, and one of choices."""
    folder = tmp_path_factory.mktemp("predict") / "run"
    model = learned(bert_folder, ["one"])
    for spec in (
        text_spec("number", **NUMBER), text_spec("two", text_columns=["text", "more"]), text_spec("choice", **CHOICE),
    ):  # fmt: skip
        model.add_task(spec)
        model.set_stage(spec.name, "complete")
    model.save_pretrained(folder)
    return folder


def ask(folder, source, target, task="one"):
    return main(["predict", str(folder), "--task", task, "--input", str(source), "--output", str(target)])


def write(path, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
        table.writeheader()
        table.writerows(rows)
    return path


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_the_columns_of_the_table_stay_and_get_answer_and_score(folder, tmp_path, monkeypatch, suffix, capsys):
    monkeypatch.setattr("atlas_hf.cli.many_rows.BATCH", 3)
    rows = [{"id": f"00{i}", "text": text, "price": "1.50"} for i, text in enumerate(TEXTS)]
    assert ask(folder, write(tmp_path / f"new{suffix}", rows), tmp_path / f"answers{suffix}") == 0
    assert "4 answers written to" in capsys.readouterr().out
    expected = AtlasModel.from_pretrained(folder).predict("one", texts=TEXTS)
    answers = read(tmp_path / f"answers{suffix}")
    assert [{name: row[name] for name in rows[0]} for row in answers] == rows
    assert [row["answer"] for row in answers] == [best[0]["label"] for best in expected]
    assert [float(row["score"]) for row in answers] == pytest.approx([best[0]["score"] for best in expected], abs=1e-5)


def test_without_an_output_the_answers_are_printed_as_what_would_be_written(folder, tmp_path, capfd):
    source = write(tmp_path / "new.tsv", [{"text": text, "price": "1.50"} for text in TEXTS])
    assert ask(folder, source, tmp_path / "out.csv") == 0
    capfd.readouterr()
    assert main(["predict", str(folder), "--task", "one", "--input", str(source)]) == 0
    assert capfd.readouterr().out == (tmp_path / "out.csv").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"new.tsv", "out.csv"}


def test_other_kinds_of_tables_and_tasks(folder, tmp_path):
    model = AtlasModel.from_pretrained(folder)
    (tmp_path / "new.jsonl").write_text("\n".join(json.dumps({"text": text, "n": 1}) for text in TEXTS))
    assert ask(folder, tmp_path / "new.jsonl", tmp_path / "out.jsonl", "number") == 0
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = [best[0]["score"] for best in model.predict("number", texts=TEXTS)]
    assert [row["answer"] for row in answers] == pytest.approx(expected, abs=1e-5) and answers[0]["n"] == 1
    rows = {"text": TEXTS, "more": TEXTS[::-1], "choices": [["a", "b", "c d"]] * 4}
    Dataset.from_dict(rows).to_parquet(tmp_path / "new.parquet")
    for task, given in (("two", [list(zip(TEXTS, TEXTS[::-1], strict=True))]), ("choice", [TEXTS, rows["choices"]])):
        assert ask(folder, tmp_path / "new.parquet", tmp_path / f"{task}.parquet", task) == 0
        answers = Dataset.from_parquet(str(tmp_path / f"{task}.parquet"))
        expected = model.predict(task, texts=given[0], choices=given[1] if given[1:] else None)
        assert answers["answer"][:] == [best[0]["label"] for best in expected], task


def test_images_by_paths_that_are_relative_to_the_table(tmp_path):
    (tmp_path / "in").mkdir()
    picture(size=(32, 32)).save(tmp_path / "in/scene.png")
    rows = [{"image": "scene.png", "question": "what digit is at the top left ?"}] * 2
    assert ask(DIGITS_MODEL, write(tmp_path / "in/new.csv", rows), tmp_path / "out.csv", "vqa") == 0
    best = AtlasModel.from_pretrained(DIGITS_MODEL).predict("vqa", picture(size=(32, 32)), rows[0]["question"])[0]
    assert [row["answer"] for row in read(tmp_path / "out.csv")] == [best["label"]] * 2
    rows[1] = {"image": "none.png", "question": "x"}
    assert ask(DIGITS_MODEL, write(tmp_path / "in/new.csv", rows), tmp_path / "other.csv", "vqa") == 2


def test_empty_texts_are_told_of(folder, tmp_path, caplog):
    source = write(tmp_path / "some.csv", [{"text": "a b"}, {"text": ""}, {"text": ""}])
    assert (
        main(["predict", str(folder), "--task", "one", "--input", str(source), "--output", f"{tmp_path}/x.csv"]) == 0
    )
    assert "some.csv: 2 rows hold an empty text, and are answered all the same; row 1 is one." in caplog.text


def test_what_cannot_be_answered_is_a_line_and_nothing_is_written_or_overwritten(folder, tmp_path, capsys):
    def fails(source, target="x.csv", task="one", *more):
        assert main([
            "predict", str(folder), "--task", task, "--input", str(source), "--output", str(tmp_path / target), *more
        ]) == 2  # fmt: skip
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    good = write(tmp_path / "good.csv", [{"text": "a"}])
    (tmp_path / "there.csv").write_text("mine")
    assert "there.csv exists already, and nothing is overwritten" in fails(good, "there.csv")
    assert "x.xlsx is no table that is read" in fails(good, "x.xlsx")
    assert "There is no task 'oen'; there are ['one'," in fails(good, task="oen")
    assert "There is no column 'more'; found were 'text'" in fails(good, task="two")
    assert "good.csv'?" in fails(tmp_path / "godo.csv")
    assert "Give --input, for all rows of a table, or one example" in fails(good, "x.csv", "one", "--text", "a")
    used = write(tmp_path / "used.csv", [{"text": "a", "score": "1"}])
    assert "has a column 'score' already, which the answers are written to. Rename it." in fails(used)
    (tmp_path / "null.jsonl").write_text('{"text": "a"}\n{"text": null}\n')
    assert "null.jsonl, rows from 0: row 1 has a text that is not a string: None." in fails(tmp_path / "null.jsonl")
    assert main(["predict", str(folder), "--task", "one", "--output", str(tmp_path / "x.csv")]) == 2
    assert "x.csv is for the answers to a table; give it with --input TABLE." in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists() and (tmp_path / "there.csv").read_text() == "mine"
