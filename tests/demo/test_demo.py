"""The demo without its page: places, questions, states, pictures, code to copy."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from atlas_hf import AtlasConfig, AtlasModel, hub
from atlas_hf.cli import main
from atlas_hf.demo import DIGITS_MODEL, DIGITS_MODEL_ID, comparison, pictures, places, views
from atlas_hf.demo.actions import Demo
from atlas_hf.demo.examples import FOLDER, examples, fitting, write_examples
from atlas_hf.demo.places import Mistake, Models, Place, home, visit
from atlas_hf.demo.questions import MAX_CHARACTERS, Question, open_image
from atlas_hf.folder import Results, TaskResult
from atlas_hf.model import evaluating
from atlas_hf.tasks import TaskSpec
from atlas_hf.training import mean_coefficients
from shared.hub_models import FAST, QUIET
from shared.hub_server import loopback_hub
from shared.tiny import text_data, text_spec

pytestmark = QUIET
MODEL, SECRET = "user/digits", "user/secret"
VQA = Path(FOLDER / "vqa-image.png")


@pytest.fixture(scope="module")
def demo():
    return Demo(home())


@pytest.fixture(scope="module")
def model(demo):
    return demo.models.get(demo.home)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The Hub with the shipped model twice, once in private."""
    monkeypatch.setattr(places, "BRIEF", hub.Retry(tries=2, sleep=lambda seconds: None))
    with loopback_hub(tmp_path / "hub") as running:
        hub.push(DIGITS_MODEL, MODEL, retry=FAST)
        hub.push(DIGITS_MODEL, SECRET, private=True, retry=FAST)
        running.clear()
        yield running


# The shipped model and its examples ----------------------------------------------------------------------------------


def test_the_shipped_model_has_every_task_of_the_stream(demo):
    assert [task.position for task in demo.home.tasks] == list(range(1, 9))
    assert set(examples()) == {task.name for task in demo.home.tasks}
    assert all(task.score > 1.5 * task.spec.random_baseline for task in demo.home.tasks)
    assert "digits_model" in (DIGITS_MODEL / "README.md").read_text()


def test_there_is_an_example_of_every_task_shape(demo):
    specs = {task.name: task.spec for task in demo.home.tasks}
    assert list(fitting(specs)) == list(specs)
    shapes = {(len(e.question.images), bool(e.question.text), bool(e.question.choices)) for e in examples().values()}
    assert shapes == {
        (1, True, False),
        (2, True, False),
        (0, True, True),
        (1, True, True),
        (1, False, False),
        (0, True, False),
    }


def test_examples_are_the_first_of_the_test_split(tmp_path):
    write_examples(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        if path.suffix == ".json":
            assert path.read_text() == (FOLDER / path.name).read_text()
        else:
            assert Image.open(path).tobytes() == Image.open(FOLDER / path.name).tobytes()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FOLDER.iterdir()}


def test_examples_are_for_the_streams_own_tasks_alone(demo):
    other = TaskSpec("vqa", "single_label_classification", text_columns=["question"], label_names=["no", "yes"])
    assert fitting({"vqa": other, "another": demo.home.task("vqa").spec}) == {}


# Questions -----------------------------------------------------------------------------------------------------------


def test_answers_and_coefficients_are_the_models(demo, model):
    question = examples()["visual-choice"].question
    answer = demo.ask(demo.home, question)
    choices = question.choices.splitlines()
    assert answer.answers == model.predict("visual-choice", question.images[0], question.text, choices)
    row = {"image": open_image(question.images[0]), "question": question.text, "choices": choices}
    with torch.no_grad(), evaluating(model) as twin:
        expected = twin.coefficients("visual-choice", **model.collator("visual-choice").inputs([row]))
    assert list(answer.coefficients) == list(expected)
    for site, values in answer.coefficients.items():
        assert list(values) == model.members("visual-choice")
        torch.testing.assert_close(torch.tensor(list(values.values())), expected[site].mean(0))
    assert answer.seconds > 0 and not answer.notes


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (Question("vqa", (), "what digit is red ?"), "The task vqa takes an image; you gave none."),
        (Question("vqa", (str(VQA),) * 2, "what ?"), "The task vqa takes an image; you gave 2."),
        (Question("image-pairs", (str(VQA),), "x"), "The task image-pairs takes two images; you gave 1."),
        (Question("text-class", (str(VQA),), "x"), "The task text-class takes no image; you gave 1."),
        (Question("vqa", (str(VQA),), "  "), "The task vqa needs ‘question’. Write it, or click an example."),
        (Question("image-class", (str(VQA),), "what ?"), "The task image-class takes no text; leave it empty."),
        (Question("text-class", (), "one", "a\nb"), "The task text-class takes no choices; leave it empty."),
        (Question("text-choice", (), "one", "a\n\nb\nc"), "chooses among 2; you gave 3. Write one choice per line."),
        (Question("text-class", (), "x" * (MAX_CHARACTERS + 1)), "has 2,001 characters; at most 2,000 are read"),
        (Question("text-choice", (), "x", "a\n" + "b" * 9999), "The choice has 9,999 characters"),
        (Question("nothing"), "There is no task 'nothing' in this model; there are entailment, text-choice"),
    ],
)
def test_wrong_input_is_told_in_words(demo, question, text):
    with pytest.raises(Mistake) as caught:
        demo.ask(demo.home, question)
    assert text in str(caught.value)


def test_several_text_columns_are_several_lines():
    spec = TaskSpec("nli", "single_label_classification", text_columns=["a", "b"], label_names=["no", "yes"])
    assert Question("nli", (), "one\ntwo").arguments(spec) == {"texts": ("one", "two")}
    with pytest.raises(ValueError, match="needs ‘a’ and ‘b’ in 2 lines"):
        Question("nli", (), "one").arguments(spec)


@pytest.mark.parametrize(
    "content", [b"no image", b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", VQA.read_bytes()[:900]]
)
def test_files_that_are_no_images(tmp_path, content):
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(ValueError, match="This file is no image that can be read .PNG, JPEG") as caught:
        open_image(str(tmp_path / "image.png"))
    assert str(tmp_path) not in str(caught.value)


def test_an_image_that_is_too_large_is_not_decoded(tmp_path, monkeypatch):
    Image.new("1", (5001, 5000)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image.Image, "convert", None)
    with pytest.raises(ValueError, match="has 5,001 x 5,000 pixels; at most 25 million are read. Make it smaller."):
        open_image(str(tmp_path / "large.png"))


def test_words_that_the_model_cannot_read_are_named(demo):
    answer = demo.ask(demo.home, Question("text-class", (), "how many of one , dogs , one are weird ?"))
    assert answer.notes == ["The model does not know ‘dogs’ and ‘weird’; it was trained without."]
    answer = demo.ask(demo.home, Question("text-class", (), "one " * 60))
    assert re.fullmatch(r"The text has 62 tokens; the model reads the first \d+.", answer.notes[0])


# States --------------------------------------------------------------------------------------------------------------


def test_the_state_after_a_task_answers_as_the_model_does(demo):
    question = examples()["image-class"].question
    assert demo.models.get(demo.home, 3).tasks == ["entailment", "text-choice", "image-class"]
    then, now = demo.ask_then(demo.home, question, 3), demo.ask(demo.home, question)
    assert then.answers == now.answers
    assert "every score equal to the last bit" in views.side_by_side(demo.home, 3, then, now)


def test_a_task_that_was_not_learned_yet_has_no_answer(demo):
    question = examples()["image-class"].question
    assert demo.ask_then(demo.home, question, 2) is None
    shown = views.side_by_side(demo.home, 2, None, demo.ask(demo.home, question))
    assert "After task 2 (text-choice)" in shown and "image-class is not learned yet." in shown
    with pytest.raises(Mistake, match="The model has 8 tasks; choose one of 1 to that, not 0."):
        demo.ask_then(demo.home, question, 0)


def test_models_are_kept_up_to_a_bound_and_loaded_once(demo, monkeypatch):
    loaded, load = [], Place.load
    monkeypatch.setattr(Place, "load", lambda place, after: loaded.append(after) or load(place, after))
    models = Models(size=2)
    with ThreadPoolExecutor(4) as threads:
        same = list(threads.map(lambda _: models.get(demo.home, 1), range(4)))
    assert loaded == [1] and len({id(model) for model in same}) == 1
    models.get(demo.home, 2)
    models.get(demo.home, 1)
    models.get(demo.home, 3)
    assert loaded == [1, 2, 3] and len(models) == 2
    models.get(demo.home, 1)
    assert loaded == [1, 2, 3], "used last, so it was kept"


def test_several_threads_get_what_they_asked_for(demo):
    names = [*examples()] * 3
    alone = {name: demo.ask(demo.home, examples()[name].question).answers for name in examples()}
    state, before = torch.random.get_rng_state(), set(threading.enumerate())  # connections of earlier tests linger
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda name: demo.ask(demo.home, examples()[name].question).answers, names))
    assert answers == [alone[name] for name in names]
    assert torch.equal(torch.random.get_rng_state(), state) and len({*threading.enumerate()} - before) < 9


# Places --------------------------------------------------------------------------------------------------------------


def test_a_folder_can_be_shown(saved, tmp_path):
    assert [task.name for task in home(str(saved)).tasks] == ["one", "two"], "without the unfinished one"
    with pytest.raises(ValueError, match="is a folder; a revision"):
        home(str(saved), "main")
    with pytest.raises(ValueError, match="There is no folder '/nowhere'"):
        home("/nowhere")
    with pytest.raises(ValueError, match="There is no atlas.json"):
        home(str(tmp_path))


def test_a_folder_without_results_has_less_to_show(saved):
    place = home(str(saved))
    assert "no results.json" in views.matrix(place) and views.over_time(place, []) == ""
    assert "not recorded" in views.test_set_map(place.task("two"))
    assert "2" in views.headline(place) and "average accuracy" not in views.headline(place)


def test_a_repository_by_revision(server):
    place = home(MODEL, "task-03-image-class")
    assert [task.name for task in place.tasks] == ["entailment", "text-choice", "image-class"]
    assert place.commit == server.store.repos["model", MODEL].tags["task-03-image-class"]
    assert views.model_name(place) == f"Model: {MODEL} at task-03-image-class ({place.commit[:7]}). Open another"
    server.clear()
    demo, question = Demo(place), examples()["text-choice"].question
    assert demo.ask_then(place, question, 2).answers == Demo(home()).ask(home(), question).answers
    assert demo.models.get(place, 2).tasks == ["entailment", "text-choice"]
    assert f"{MODEL}/resolve/" in "".join(entry.path for entry in server.log), "by its tag, from the Hub"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (("user/nothing", "", ""), "There is no public repository user/nothing. Check the name; if it is private"),
        ((SECRET, "", ""), f"There is no public repository {SECRET}"),
        ((SECRET, "", "hf_other"), f"There is no public repository {SECRET}"),
        ((SECRET, "", "hf_unknown"), f"There is no public repository {SECRET}"),
        ((MODEL, "v9", ""), f"{MODEL} has no such revision. Give a branch, a tag such as task-02-vqa, or a commit."),
        (("user/other", "", ""), "user/other is no model of atlas_hf: it has no atlas.json."),
        (("digits", "", ""), "'digits' is no repository of the Hub. Write it as owner/name"),
        (("../../etc", "", ""), "is no repository of the Hub"),
        (("tests/shared", "", ""), "'tests/shared' is no repository of the Hub"),
        ((DIGITS_MODEL_ID, "main", ""), "has no revisions. Leave it empty."),
    ],
)
def test_what_visitors_cannot_open(server, demo, monkeypatch, asked, text):
    monkeypatch.chdir(Path(__file__).parents[2])
    server.store.create("model", "user/other")
    with pytest.raises(Mistake) as caught:
        demo.open(*asked)
    assert text in str(caught.value)
    assert "127.0.0.1" not in str(caught.value) and str(Path.home()) not in str(caught.value)


def test_what_one_visitor_may_read_another_may_not(server, demo):
    """Neither from memory nor from the disk, not even by the commit's sha; and never by the machine's own token."""
    place = demo.open(SECRET, "", "hf_write")
    model = demo.models.get(place)
    with pytest.raises(Mistake, match=f"There is no public repository {SECRET}"):
        demo.open(SECRET, place.commit, "")
    stranger = Place(place.id, place.folder, place.revision, place.commit, False)
    assert demo.models.get(place) is model and demo.models.get(stranger) is not model
    assert "hf_write" not in repr(place)


def test_the_machines_own_private_model_is_shown_to_all(server):
    place = home(SECRET)
    assert visit(place, SECRET).commit == place.commit
    assert [task.name for task in visit(place, SECRET, "task-01-entailment").tasks] == ["entailment"]


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (
            (MODEL, "a\0b", ""),
            "The revision 'a.x00b' is empty or has a character that cannot be in one. Give a branch",
        ),
        ((MODEL, "two words", ""), "The revision 'two words' is empty or has a character that cannot be in one"),
        ((MODEL, "", "hf_a\nb"), "The token is empty or has a character that cannot be in one, such as a space or a"),
        ((MODEL, "", "hf_é"), "The token is empty or has a character that cannot be in one"),
    ],
)
def test_c10_what_can_be_no_revision_or_token_is_told_as_that(server, demo, asked, text):
    server.clear()
    with pytest.raises(Mistake, match=text) as error:
        demo.open(*asked)
    assert not server.requests() and "hf_" not in str(error.value)


def test_a_hub_that_is_down(server, demo):
    server.fault(".*", 503, times=99)
    with pytest.raises(Mistake, match="The Hub cannot be reached, or does not answer. The model that is open stays."):
        demo.open(MODEL)


def test_a_damaged_file(server, demo):
    server.fault("GET .*/resolve/.*vqa/adapter_model.safetensors", "flip")
    with pytest.raises(Mistake, match=f"A file of {MODEL} is damaged"):
        demo.open(MODEL)


# Pictures ------------------------------------------------------------------------------------------------------------


def parse(html):
    return ElementTree.fromstring(f"<div>{html}</div>")


def test_the_heat_map_of_an_input(demo):
    question = examples()["vqa"].question
    answer, task = demo.ask(demo.home, question), demo.home.task("vqa")
    table = parse(views.site_map(task, answer.coefficients, "a caption"))
    header = ["".join(cell.itertext()) for cell in table.iter("th") if cell.get("scope") == "col"]
    assert header == ["layer, site", "entailment", "text-choice", "image-class", "vqa"]
    rows = ["".join(cell.itertext()) for cell in table.iter("th") if cell.get("scope") == "row"]
    assert rows[:2] == ["0 attention output", "0 output"] and len(rows) == 8
    numbers = [cell.text for cell in table.iter("td")]
    expected = [f"{value:.2f}" for site in answer.coefficients.values() for value in site.values()]
    assert numbers == expected


def test_the_sentence_about_an_input(demo):
    task = demo.home.task("vqa")
    sites = {"a": {"entailment": 0.1, "text-choice": 0.9, "image-class": 0.4, "vqa": 1.0}}
    sites["b"] = {"entailment": 0.3, "text-choice": 0.7, "image-class": 0.4, "vqa": 1.0}
    text = "".join(parse(views.leaned_on(task, sites)).itertext())
    assert text.startswith("For this input, vqa leaned most on text-choice (0.80), then image-class (0.40), least on")
    assert "reuses nothing" in views.leaned_on(demo.home.task("entailment"), {"a": {"entailment": 0.5}})


def test_the_graph_of_tasks(demo):
    svg = parse(views.graph(demo.home, "vqa")).find(".//svg")
    titles = [title.text for title in svg.iterfind(".//path/title")]
    assert len(titles) == sum(len(task.record.experience) for task in demo.home.tasks)
    assert f"vqa reuses entailment: mean coefficient {demo.home.task('vqa').coefficients['entailment']:.2f}" in titles
    assert len([path for path in svg.iter("path") if "own" in path.get("class")]) == 3
    assert svg.get("role") == "img" and "text-choice reuses entailment;" in svg.get("aria-label")


@pytest.fixture(scope="module")
def by_evidence(bert_folder, tmp_path_factory):
    """A head on the bare backbone, a task with an adapter, and one that is a head and queries on that one's."""
    folder, results = tmp_path_factory.mktemp("runs") / "evidence", Results()
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    for name, experience in (("alone", ()), ("sees-a", ()), ("twin", ["sees-a"])):
        model.add_task(text_spec(name), experience=experience)
        if name != "sees-a":
            model.base_model.drop_adapter(name)
        model.set_stage(name, "complete")
        means = mean_coefficients(model, name, text_data("a", 8))
        results.add(TaskResult(name, coefficients=means, parameters=model.count_parameters(name)), [0.5] * 3)
    results.matrix, twin = [[0.5] * 3] * 3, results.tasks[-1]
    twin.opened, twin.sources = ["sees-a"], {"__base__": 0.8, "sees-a": 0.4}
    twin.stages = {"expansion": {"score_before": 0.75, "score_after": 0.71875, "kept": 0.0}}
    model.save_pretrained(folder)
    results.save(folder)
    return Demo(home(str(folder)))


@pytest.mark.parametrize(
    ("task", "lead", "map_says", "beginning"),
    [
        ("alone", "alone reuses nothing: it is a head on the bare backbone.", "no adapter takes part", "no adapter"),
        ("sees-a", "sees-a reuses nothing: it has only its own adapter.", "layer, sitesees-a0", ""),
        (
            "twin", "For this input, twin leaned most on sees-a (", "layer, sitesees-a0",
            "Begins at the model of sees-a: a linear probe leaves 0.40 of the mean label's error there (on the bare "
            "backbone 0.80). It has no adapter of its own: 0.750 without, 0.719 with one, which is",
        ),
    ],
)  # fmt: skip
def test_a_task_without_an_adapter_and_who_helped_whom(by_evidence, task, lead, map_says, beginning):
    place, shown = by_evidence.home, by_evidence.home.task(task)
    answer = by_evidence.ask(place, Question(task, (), "a b"))
    said = ["".join(parse(html).itertext()) for html in (
        views.leaned_on(shown, answer.coefficients), views.site_map(shown, answer.coefficients, "now"),
        views.test_set_map(shown), views.graph(place, task), views.side_by_side(place, 3, answer, answer),
    )]  # fmt: skip
    assert said[0].startswith(lead) and map_says in said[1] and map_says in said[2]
    assert beginning in said[3] and "equal to the last bit" in said[4]
    assert views.headline(place) and all("vqa" not in text for text in views.code(place, shown, 3).values())


def test_every_picture_is_well_formed_and_says_what_it_shows(demo):
    place, answer = demo.home, demo.ask(demo.home, examples()["image-pairs"].question)
    task = place.task("image-pairs")
    shown = [
        views.headline(place), views.about_task(task), views.answer(answer, "true"), views.asked(answer.question),
        views.test_set_map(task), views.matrix(place), views.over_time(place, []),
        views.side_by_side(place, 8, answer, answer),
    ]  # fmt: skip
    for html in shown:
        tree = parse(html)
        assert all(image.get("alt") for image in tree.iter("img"))
        assert all(svg.get("aria-label") for svg in tree.iter("svg"))
        assert "http" not in re.sub('data:image[^"]*', "", html), "nothing from elsewhere"


def test_names_from_a_repository_are_text(demo):
    evil = "<img src=x onerror=alert(1)>"
    for html in (
        pictures.bars([(evil, 0.5)]), pictures.heat_map([[0.5]], [evil], [evil], evil, evil),
        pictures.reuse_graph([evil, "b"], {"b": {evil: 0.5}}, evil), pictures.line_chart({evil: [0.5]}, [evil], evil),
        pictures.tiles([(evil, evil)]), views.asked(Question("vqa", (), evil, evil)),
    ):  # fmt: skip
        assert "<img" not in html and not list(parse(html).iter("img"))


def test_bars_are_as_long_as_their_scores():
    spans = parse(pictures.bars([("a", 0.75), ("b", 12.5)])).findall(".//span/span")
    assert [span.get("style") for span in spans] == ["--v:0.7500", "--v:0.0000"]


# ATLAS beside sequential fine-tuning ---------------------------------------------------------------------------------


def write_cells(folder, methods=("atlas", "sequential_ft"), seeds=2, names=("a", "b"), **changes):
    """Hand-made: each seed adds 0.1; sequential fine-tuning forgets the first task."""
    tasks = [{"name": name, "role": "upstream"} for name in names] + [{"name": "c", "role": "downstream"}]
    for method in methods:
        for seed in range(seeds):
            last = 0.5 if method == "atlas" else 0.1
            matrix = [[0.5 + seed / 10, None], [last + seed / 10, 0.7 + seed / 10]]
            cell = {"schema": 1, "method": method, "order": "multi-first", "seed": seed, "stream": "digits"}
            cell |= {"settings": {"sizes": {"train_size": 10}}, "tasks": tasks, "matrix": matrix} | changes
            path = folder / method / "multi-first" / f"seed-{seed}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(cell))
    return folder


def test_the_comparison_is_the_mean_over_common_seeds(tmp_path):
    write_cells(tmp_path / "cells", methods=["atlas"], seeds=3)
    path = comparison.write_comparison(write_cells(tmp_path / "cells"), tmp_path / "comparison.json")
    atlas, sequential = comparison.comparison("digits", ["a", "b"], path)
    assert (atlas.method, atlas.seeds) == ("atlas", 2) and sequential.method == "sequential_ft"
    assert atlas.matrix[0] == [pytest.approx(0.55), None]
    assert comparison.average_over_time(atlas.matrix) == pytest.approx([0.55, 0.65])
    assert comparison.average_over_time(sequential.matrix) == pytest.approx([0.55, 0.45])
    assert comparison.comparison("another", ["a", "b"], path) == []
    assert comparison.comparison("digits", ["b", "a"], path) == []


def test_methods_are_drawn_beside_the_model(demo):
    matrix = [[0.5, None, None, None], [0.5] * 2 + [None] * 2, [0.5] * 3 + [None], [0.5] * 4]
    results = [comparison.Result("atlas", 2, matrix), comparison.Result("sequential_ft", 2, matrix)]
    chart = parse(views.over_time(demo.home, results))
    legend = [text.text for text in chart.iterfind(".//g/text")]
    assert {"ATLAS, mean of 2 seeds", "sequential fine-tuning, mean of 2 seeds", "this model"} <= set(legend)


def test_without_a_benchmark_the_demo_says_so(tmp_path, demo):
    assert comparison.comparison("digits", ["a"], tmp_path / "comparison.json") == []
    assert "No benchmark results of this stream and order are at hand" in views.over_time(demo.home, [])


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ({"methods": ["atlas"]}, "There is no cell of sequential_ft in"),
        ({"schema": 2}, "seed-0.json is no cell of schema 1"),
    ],
)
def test_cells_that_cannot_be_compared(tmp_path, cells, text):
    with pytest.raises(ValueError, match=text):
        comparison.compare(write_cells(tmp_path, **cells))


def test_cells_of_two_runs_are_not_mixed(tmp_path):
    write_cells(tmp_path)
    write_cells(tmp_path, methods=["atlas"], settings={"sizes": {"train_size": 99}})
    with pytest.raises(ValueError, match="The cells of order multi-first differ in tasks or sizes"):
        comparison.compare(tmp_path)


def test_a_damaged_comparison_is_named(tmp_path):
    path = tmp_path / "comparison.json"
    path.write_text('{"orders": [{}]}')
    with pytest.raises(ValueError, match="comparison.json is not what atlas_hf writes"):
        comparison.comparison("digits", ["a"], path)


# Code to copy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "after"), [("visual-choice", 5), ("text-choice", 3), ("image-pairs", 2)])
def test_the_code_runs_as_printed(demo, task, after, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(VQA, "image.png")
    for program in views.code(demo.home, demo.home.task(task), after).values():
        scope = {}
        exec(program, scope)
        assert "[{'label':" in capsys.readouterr().out
    assert scope["model"].tasks == [one.name for one in demo.home.tasks[:after]]


def test_the_code_for_a_repository(server, capsys):
    place = home(MODEL, "task-03-image-class")
    whole, only, then = views.code(place, place.task("text-choice"), 2).values()
    assert f'AtlasModel.from_pretrained("{MODEL}", revision="task-03-image-class")' in whole
    assert 'revision="task-03-image-class", tasks=["text-choice"])' in only
    assert f'AtlasModel.from_pretrained("{MODEL}", revision="task-02-text-choice")' in then
    exec(then, scope := {})
    assert scope["model"].tasks == ["entailment", "text-choice"]
    assert f"https://huggingface.co/{MODEL}/blob/{place.commit}/README.md" in views.card_link(place)


# The command ---------------------------------------------------------------------------------------------------------


def test_without_gradio_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "atlas_hf.demo.app", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo"]) == 2
    said = capsys.readouterr()
    assert "The demo needs gradio. Install it with: pip install 'atlas_hf[demo]'" in said.err
    assert said.out == "", "no address of a page that cannot come"
