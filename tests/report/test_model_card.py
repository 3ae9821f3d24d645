"""Model cards: what they say, that their code runs as printed, and that nothing from a file can break or betray.

`PYTHONPATH=tests python tests/report/test_model_card.py` writes the golden cards of `model_cards/` anew, from
`model_cards/example/` (a smoke run of the digits stream without its weights).
"""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from atlas_hf import AtlasConfig, AtlasFormatError, AtlasModel, AtlasTrainingArguments, TaskSpec, learn_sequence
from atlas_hf.cli import main
from atlas_hf.folder import Owned, Results, TaskResult
from atlas_hf.report.card import write_card, write_task_card
from atlas_hf.report.card_source import CardTask, hub_id
from atlas_hf.report.printable import md
from atlas_hf.report.text import format_gain, format_results
from shared.hub_server.card_check import check_card
from shared.tiny import quick, splits, text_spec

CARDS = Path(__file__).parents[2] / "model_cards"
WEIGHTS = {"entailment": 419532, "text-choice": 422700, "image-class": 436048, "vqa": 450424, "visual-choice": 434988}
STEPS = {"max_steps": 2, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


def example(folder):
    """The folder of the golden cards, with weight files of the right size."""
    shutil.copytree(CARDS / "example", folder)
    for name, size in WEIGHTS.items():
        (folder / name / "adapter_model.safetensors").write_bytes(bytes(size))
    return folder


def golden_cards(folder):
    """The golden cards' names and texts."""
    yield "example.md", write_card(folder, "someone/digits-atlas").read_text()
    yield "example-task.md", write_task_card(folder, "vqa", "someone/digits-atlas").read_text()
    (folder / "results.json").unlink()
    edit(folder / "atlas.json", lambda index: index["base_model"].update(id="/home/someone/backbone"))
    yield "example-without-results.md", write_card(folder).read_text()


def edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.fixture(scope="module")
def learned(bert_folder, tmp_path_factory):
    """Two tasks and a downstream one, really learned, in two steps each."""
    folder = tmp_path_factory.mktemp("runs") / "letters"
    values = {"per_device_train_batch_size": 16, "report_to": "none", "disable_tqdm": True, "use_cpu": True}
    args = AtlasTrainingArguments(output_dir="unused", recipe="paper", **STEPS, **values)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    stream = [(text_spec(f"has-{letter}", description=f"Is {letter} there?"), splits(letter)) for letter in "abd"]
    learn_sequence(model, stream[:2], args, folder, stream[2:], description={"license": "mit", "language": "fr"})
    return folder


@pytest.fixture
def copy(learned, tmp_path):
    return Path(shutil.copytree(learned, tmp_path / "letters"))


@pytest.fixture
def digits(tmp_path):
    return example(tmp_path / "digits")


@pytest.fixture(scope="module")
def by_evidence(bert_folder, tmp_path_factory):
    """A folder whose tasks begin where it helps: one is a head alone, one has an adapter, one uses that of another."""
    folder = tmp_path_factory.mktemp("runs") / "evidence"
    unsaved = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    args = quick(recipe="evidence", num_train_epochs=16, learning_rate=1e-2, adam_epsilon=1e-8, **unsaved)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    stream = [(text_spec(name), splits(letter, *sizes)) for name, letter, *sizes in (
        ("alone", "c", 24, 8), ("sees-a", "a", 76, 100), ("twin", "a", 24, 8))]  # fmt: skip
    learn_sequence(model, stream, args, folder, compare_alone=True)
    return folder


def run_blocks(path):
    """Run the card's Python; what it printed is in capsys."""
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)
    for block in blocks:
        exec(compile(block, path.name, "exec"), {"__name__": "card"})
    return len(blocks)


def test_golden_cards(digits):
    for name, text in golden_cards(digits):
        assert text == (CARDS / name).read_text(), f"{name} changed; if rightly so, run python {__file__}"


def test_the_code_runs_as_printed(copy, monkeypatch, capsys):
    monkeypatch.chdir(copy.parent)
    assert run_blocks(write_card(copy)) == 2
    assert run_blocks(write_task_card(copy, "has-d")) == 1
    out = capsys.readouterr().out
    assert out.count("[{'label':") == 4 and "['has-a', 'has-b', 'has-d']" in out


def test_the_code_for_a_repository_runs_as_printed(copy, monkeypatch, capsys):
    """A folder of the repository's name stands for it; the revision means nothing to a folder."""
    (copy.parent / "someone").mkdir()
    (copy.parent / "someone" / "letters").symlink_to(copy)
    monkeypatch.chdir(copy.parent)
    assert run_blocks(path := write_card(copy, "someone/letters")) == 3
    assert 'from_pretrained("someone/letters", revision="task-02-has-b")' in path.read_text()


def test_every_kind_of_input_has_code_that_names_it(digits):
    text = write_card(digits, "a/b").read_text()
    assert 'predict("vqa", images=image, texts="your question", top_k=1)' in text
    assert 'predict("text-choice", texts="your question", choices=["choice 1", "choice 2"], top_k=1)' in text
    spec = TaskSpec("p", "image_pair", ("l", "r"), ("a`b\n", "c"), label_names=("n", "y"))
    task = CardTask(1, "p", None, spec, {}, {}, 0)
    assert task.call == '"p", images=(image, image), texts=("your a b", "your c")'


def test_metadata_of_a_real_folder(copy):
    data = ModelCard.load(write_card(copy, "someone/letters")).data
    assert data.library_name == "peft" and data.pipeline_tag == "text-classification"
    assert (data.license, data.language, data.metrics) == ("mit", "fr", ["accuracy"])
    assert data.model_name == "letters" and [r.task_name for r in data.eval_results] == ["has-a", "has-b", "has-d"]
    scores = [task["score"] for task in json.loads((copy / "results.json").read_text())["tasks"]]
    assert [r.metric_value for r in data.eval_results] == pytest.approx(scores, abs=5e-5)
    assert {"atlas", "continual-learning", "adapter", "peft"} <= set(data.tags) and "multimodal" not in data.tags


def test_metadata_round_trips_and_passes_the_hubs_rules(digits, copy):
    for path in (write_card(digits, "a/b"), write_card(copy), write_task_card(digits, "vqa"), *CARDS.glob("*.md")):
        text = path.read_text()
        assert check_card(text) == ([], []), path
        if path.name != "digits-vilt.md":
            assert str(ModelCard.load(path)).rstrip() == text.rstrip(), path
    data = ModelCard.load(digits / "README.md").data
    assert data.base_model == "atlas-hf/digits-vilt" and data.base_model_relation == "adapter"
    assert data.pipeline_tag == "visual-question-answering" and data.datasets == ["example-org/digits"]
    assert {(r.metric_type, r.metric_name) for r in data.eval_results} >= {("accuracy", "soft accuracy (VQA)")}


def test_numbers_in_the_text_are_those_of_the_files(copy):
    text, results = write_card(copy).read_text(), json.loads((copy / "results.json").read_text())
    for row in results["matrix"]:
        assert " | ".join("–" if value is None else f"{value:.4f}" for value in row) in text
    for task in results["tasks"]:
        size = sum(p.stat().st_size for p in (copy / task["name"]).iterdir())
        assert f"| {sum(task['parameters'].values()):,} | {size:,} |" in text
    assert f"after the last task: {results['summary']['average_accuracy']:.4f}" in text
    assert "](reuse.png)" in text and "](accuracy_matrix.png)" in text and "Forgetting is 0" in text


def test_a_task_without_an_adapter_and_who_helped_whom(by_evidence):
    results = Results.load(by_evidence)
    alone, sees, twin = results.tasks
    assert [task.parameters["adapter"] > 0 for task in results.tasks] == [False, True, False]
    text = (by_evidence / "README.md").read_text()
    assert "Every task has a head of its own, and a small adapter where that helped," in text
    errors = f"{twin.sources['__base__']:.4f} | sees-a {twin.sources['sees-a']:.4f}"  # a head alone is not tried
    assert f"| `twin` | sees-a | {errors} | no" in text and "| `alone` | bare backbone | – | – | no" in text
    before, after = (sees.stages["expansion"][f"score_{name}"] for name in ("before", "after"))
    assert f"| yes ({before:.4f}, {after:.4f}) |" in text
    assert f"| `alone` | 0 | 0 | 0 | {alone.parameters['head']:,} | {alone.parameters['head']:,} |" in text
    assert check_card(text) == ([], []) and "answer clearly\nbetter is undone" in text
    parts = {name: write_task_card(by_evidence, name).read_text() for name in ("alone", "sees-a", "twin")}
    assert "The head of one task, number 1" in parts["alone"] and "not enough by themselves" not in parts["alone"]
    assert "The queries and head of one task" in parts["twin"] and "the task adds up those of" in parts["twin"]
    assert "The adapter, key, queries and head of one task" in parts["sees-a"]


def test_the_terminal_says_who_helped_whom(by_evidence, capsys):
    assert main(["info", str(by_evidence)]) == 0
    found, twin = capsys.readouterr().out, Results.load(by_evidence).tasks[-1]
    errors = rf"{twin.sources['sees-a']:.4f} +{twin.sources['__base__']:.4f}"
    assert re.search(rf"^twin +sees-a +{errors} +no ", found, re.MULTILINE)
    assert "\nalone: none\n" in found
    heads = Results([TaskResult("a"), TaskResult("b")], [[1.0, None], [1.0, 1.0]])
    assert format_results(heads).endswith("No task has an adapter: each is a head on the bare backbone")


def test_what_reuse_gave_a_task(by_evidence, tmp_path):
    folder = Path(shutil.copytree(by_evidence, tmp_path / "evidence"))
    results = Results.load(folder)
    twin = results.tasks[-1]
    assert json.loads((folder / "results.json").read_text())["forward_transfer"] == results.forward_transfer
    assert results.forward_transfer == {"twin": twin.alone} and twin.alone["gain"] > 0
    row = f"| `twin` | sees-a | {twin.score:.4f} | {twin.alone['score']:.4f} | {format_gain(twin)} |"
    assert row in write_card(folder).read_text()
    task_card = write_task_card(folder, "twin").read_text()
    assert f"| learned without the others | {twin.alone['score']:.4f} ({format_gain(twin)} by reuse) |" in task_card
    assert f"| chance | {twin.chance:.4f} |" in task_card
    (share,), (coefficient,) = twin.contributions.values(), twin.mean_by_member.values()
    assert f"| `twin` |  | {share:.3f} ({coefficient:.3f}) |  |" in write_card(folder).read_text() and share > 0
    results.rescore("twin", 0.5)
    assert results.forward_transfer == {}, "another model"


@pytest.mark.parametrize(
    "alone", [{}, {"score": 1, "gain": 0.1}, {"score": "x", "gain": 0, "error": 0, "examples": 1}]
)
def test_a_strangers_comparison_is_checked(by_evidence, tmp_path, alone):
    folder = Path(shutil.copytree(by_evidence, tmp_path / "evidence"))
    edit(folder / "results.json", lambda results: results["tasks"][-1].update(alone=alone))
    with pytest.raises(AtlasFormatError, match=r"results\.json.*alone"):
        write_card(folder)


def test_same_files_same_bytes(copy):
    first = write_card(copy).read_bytes()
    write_task_card(copy, "has-a")
    (copy / "has-a" / "notes.txt").write_text("not ours")
    assert write_card(copy).read_bytes() == first


def test_a_card_without_results_has_fewer_sections(copy):
    (copy / "results.json").unlink()
    text = write_card(copy).read_text()
    assert "## Tasks" in text and "## Limits" in text and "No licence is stated" in text
    assert not re.search("## Accuracy matrix|## Who reuses whom|png|Wall time|test split", text)
    assert len(ModelCard.load(copy / "README.md").data.eval_results) == 3, "atlas.json knows the scores"
    edit(copy / "atlas.json", lambda index: [task["metrics"].clear() for task in index["tasks"].values()])
    assert (
        check_card(write_card(copy).read_text()) == ([], []) and "model-index" not in (copy / "README.md").read_text()
    )


def test_a_task_that_atlas_json_does_not_name_yet_is_left_out(copy):
    """Killed between results.json and atlas.json."""
    edit(copy / "atlas.json", lambda index: [index["tasks"].pop(name) for name in ("has-d", "has-b")])
    text = write_card(copy).read_text()
    assert "has-b" not in text and "has-d" not in text and "The task `has-a`, learned on one frozen" in text


def test_an_earlier_state_beside_its_own_files(copy):
    state = copy / "earlier"
    owned = Owned(copy)
    owned.make_folder(state)
    for name in ("atlas.json", "results.json"):
        with owned.replacing(state / name) as temporary:
            shutil.copyfile(copy / name, temporary)
    edit(state / "atlas.json", lambda index: [index["tasks"].pop(name) for name in ("has-d", "has-b")])
    path = write_card(copy, "someone/letters", state=state)
    assert path == state / "README.md" and "has-b" not in path.read_text()


def test_local_paths_stay_local(copy, bert_folder):
    card = write_card(copy)
    for path in (card, write_task_card(copy, "has-b")):
        text = path.read_text()
        for place in (bert_folder, copy, Path.home(), Path.cwd()):
            assert str(place) not in text
        assert "not on the Hub" in text and "base_model" not in yaml.safe_load(text.split("---")[1])


@pytest.mark.parametrize(
    "value", ["/home/ann/m", "../m", "./m", "~/m", "C:\\m", "a/b/c", "a/b.json", "a b", "", None, 3]
)
def test_what_is_no_hub_id(value, tmp_path):
    assert hub_id(value, tmp_path) is None


def test_a_relative_path_is_no_hub_id(tmp_path, monkeypatch):
    (tmp_path / "runs" / "backbone").mkdir(parents=True)
    assert hub_id("runs/backbone", tmp_path / "runs" / "letters") is None
    assert hub_id("dandelin/vilt-b32-mlm", tmp_path) == "dandelin/vilt-b32-mlm"
    monkeypatch.chdir(tmp_path)
    assert hub_id("runs/backbone", Path("/elsewhere")) is None


def test_a_folder_that_is_named_after_its_user_is_not_named(copy, monkeypatch):
    monkeypatch.setenv("HOME", str(Path("/home/letters")))
    text = write_card(copy).read_text()
    assert '"letters"' not in text and 'from_pretrained("atlas-model")' in text


TOKEN = "hf_" + "aB3" * 12
HOSTILE = [
    "x | y\n---\nlicense: evil\n---\n# Heading",
    "<script>alert(1)</script><img src=x onerror=alert(1)> &lt;",
    "```\ncode\n``` `tick` [link](javascript:alert(1)) ![i](http://x/y.png)",
    "{{ source.base.id }} {% for x in y %} $$x$$ **bold** __b__ ~~s~~ \u202egnp\u0000",
    f"from /home/ann/data/x.json, C:\\Users\\ann\\x, ~/ann/x, file:///home/ann/x {TOKEN}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_stay_text(copy, text):
    edit(copy / "results.json", lambda results: results["tasks"][1].update(sources={"__base__": 0.7}))
    plain = write_card(copy).read_text()

    def poison(results):
        results["settings"] |= {text: text, "seed": text}
        results["description"] = {text: text, "license": text, "language": text}
        results["tasks"][1] |= {"opened": [text], "sources": {text: 0.5}}
        results["tasks"][0] |= {"modality": text, "parameters": {text: 1}, "stages": {text: {text: 0.5}}}

    edit(
        copy / "has-a" / "task.json", lambda spec: spec.update(description=text, dataset_id=text, text_columns=[text])
    )
    edit(copy / "has-b" / "adapter_config.json", lambda config: config.update(target_modules=text, variant=text))
    edit(copy / "results.json", poison)
    edit(
        copy / "atlas.json",
        lambda index: (index["versions"].update({text: text}), index["base_model"].update(id=text)),
    )
    for card in (write_card(copy).read_text(), write_task_card(copy, "has-a").read_text()):
        assert check_card(card) == ([], []) and not re.search("<(script|img)|ann|alert.1...</|" + TOKEN, card)
        assert "license" not in ModelCard(card).data.to_dict() and "evil" not in card.split("\n---\n")[0]
    assert structure((copy / "README.md").read_text()) <= structure(plain)


def structure(card):
    """Headings, links, pictures and HTML that a renderer would see."""
    tokens = MarkdownIt("commonmark").enable("table").parse(ModelCard(card).text)
    inner = [child for token in tokens for child in token.children or []]
    links = {str(token.attrs.get("href") or token.attrs.get("src")) for token in inner if token.attrs}
    found = {(t.type, "") for t in [*tokens, *inner] if t.type != "text"}
    headings = {tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"}
    return found | {("link", link) for link in links} | {("heading", heading) for heading in headings}


def test_plain_text_stays_readable():
    for text in ("Yes or no? (a/b, and/or) 50 % of num_heads: see x-y.", "éà 日本, 3.5 + 2 = 5.5; https://a.org/b/c"):
        assert md(text) == text
    assert md("at ../ann/x and data:/home/ann/x") == "at (local path) and data:(local path)"
    assert len(md("long " * 1000)) == 400


def test_errors(copy):
    with pytest.raises(ValueError, match="Repo id must"):
        write_card(copy, "no such/repo id")
    with pytest.raises(ValueError, match=r"no task 'has-z'; there are \['has-a', 'has-b', 'has-d'\]"):
        write_task_card(copy, "has-z")
    edit(copy / "results.json", lambda results: results.update(matrix=[1]))
    with pytest.raises(AtlasFormatError, match="results.json has no list of lists 'matrix'"):
        write_card(copy)
    edit(copy / "has-b" / "task.json", lambda spec: spec.pop("name"))
    (copy / "results.json").unlink()
    with pytest.raises(AtlasFormatError, match="has-b/task.json is not one of atlas_hf: .*lacks .'name'"):
        write_card(copy)
    edit(copy / "atlas.json", lambda index: index["tasks"].clear())
    with pytest.raises(ValueError, match="names no task"):
        write_card(copy)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        for name, text in golden_cards(example(Path(scratch) / "digits")):
            (CARDS / name).write_text(text)
