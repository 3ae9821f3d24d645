"""A model as a notebook and a terminal show it: its tasks, and no tree of modules."""

from html.parser import HTMLParser

import pytest

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.model.tables import html_table, text_table
from shared.tiny import learned, text_spec


class Cells(HTMLParser):
    """The text of every cell, row by row; every tag must close."""

    def __init__(self, html):
        super().__init__()
        self.open, self.rows = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture
def model(bert_folder):
    model = learned(bert_folder, ("one", "two"))
    model.metrics["two"] = {"accuracy": 0.8125, "random_baseline": 0.5}
    model.add_task(text_spec("three"), experience=["two"])
    return model


def test_a_model_is_printed_as_its_tasks(model):
    title, names, *rows, note = repr(model).splitlines()
    assert str(model) == repr(model) and len(rows) == 3
    size = sum(p.numel() for p in AtlasModel.from_pretrained(model.task_config.base_model_name_or_path).parameters())
    assert title.startswith("AtlasModel on BertModel ") and f"({size:,} parameters, frozen): 3 tasks, 'three'" in title
    assert names.split() == ["task", "kind", "learned", "reuses", "parameters", "score"]
    owned = [f"{sum(model.count_parameters(name).values()):,}" for name in model.tasks]
    kind = "single_label_classification"
    assert [row.split() for row in rows] == [
        ["one", kind, "yes", "nothing", owned[0]], ["two", kind, "yes", "one", owned[1], "accuracy", "0.812"],
        ["three", kind, "not", "yet", "two", owned[2]],
    ]  # fmt: skip
    assert note == "  Its modules: model.base_model" and "AtlasLayer" in repr(model.base_model)


def test_a_bare_backbone_has_no_table(bert_folder):
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    title, note = repr(model).splitlines()
    assert title.endswith("no tasks") and "model.base_model" in note


def test_a_notebook_gets_the_same_cells(model):
    cells = Cells(model._repr_html_())
    lines = [line[2:] for line in repr(model).splitlines()[1:-1]]
    assert not cells.open and len(cells.rows) == 4
    assert [" ".join(" ".join(row).split()) for row in cells.rows] == [" ".join(line.split()) for line in lines]


def test_an_adapter_without_a_spec_is_listed_too(bert_folder):
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    model.add_adapter("plain", AtlasConfig(r=4))
    assert repr(model).splitlines()[2].split()[:2] == ["plain", "not"]


def test_tables_escape_and_align():
    rows = [("name", "n"), ("<b>", "1"), ("longer name", "1,000")]
    assert text_table(rows) == "name             n\n<b>              1\nlonger name  1,000"
    html = html_table("a & b", rows, note="<i>")
    assert "a &amp; b" in html and "&lt;b&gt;" in html and "&lt;i&gt;" in html and "<b>" not in html
    assert Cells(html).rows == [list(row) for row in rows]
