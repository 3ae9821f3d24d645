"""`learn_sequence`: no task is lost, no finished task is done again, and the folder says it all."""

import json
import shutil

import pytest
import torch

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer, AtlasTrainingArguments, learn_sequence
from atlas_hf.training.learning import mean_coefficients
from atlas_hf.training.task_trainer import evaluate_task
from shared.tiny import quick, splits, text_spec


@pytest.fixture
def args():
    return quick(learning_rate=5e-3)


@pytest.fixture
def fresh(bert_folder):
    def make(**config):
        return AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4, **config))

    return make


@pytest.fixture(scope="module")
def learned_once(bert_folder, tmp_path_factory):
    """A folder of one task, to be copied."""
    folder = tmp_path_factory.mktemp("learned")
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    learn_sequence(model, STREAM[:1], quick(learning_rate=5e-3), folder)
    return folder


STREAM = [(text_spec(f"has-{letter}"), splits(letter)) for letter in "abc"]
DOWNSTREAM = [(text_spec(f"has-{letter}"), splits(letter)) for letter in "de"]


def logits(model, task):
    batch = model.collator(task).inputs([{"text": "a b c"}, {"text": "d"}])
    with torch.no_grad():
        return model(task=task, **batch).logits


@pytest.mark.parametrize(("variant", "weighting"), [("paper", "adapter"), ("reference", "channel")])
def test_no_task_is_lost(fresh, args, tmp_path, variant, weighting):
    model, seen = fresh(variant=variant, weighting=weighting), {}
    for count in (1, 2, 3):
        results = learn_sequence(model, STREAM[:count], args, tmp_path)
        for task in model.tasks:
            assert torch.equal(seen.setdefault(task, logits(model, task)), logits(model, task))
    matrix = results["matrix"]
    assert [[cell is None for cell in row] for row in matrix[2:]] == [[False] * 3]
    assert matrix[2][0] == matrix[0][0] and matrix[2][1] == matrix[1][1]
    assert results["summary"]["forgetting"] == 0 and results["summary"]["backward_transfer"] == 0
    assert results["summary"]["average_accuracy"] == pytest.approx(sum(matrix[2]) / 3)


def test_the_folder_gives_the_model_back(fresh, args, tmp_path):
    model = fresh()
    results = learn_sequence(model, STREAM[:2], args, tmp_path, DOWNSTREAM[:1])
    loaded = AtlasModel.from_pretrained(tmp_path)
    assert loaded.tasks == model.tasks == ["has-a", "has-b", "has-d"]
    for task in model.tasks:
        assert torch.equal(logits(loaded, task), logits(model, task))
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert loaded.metrics["has-b"] == {"accuracy": results["matrix"][1][1], "random_baseline": 0.5}
    assert {p.name for p in tmp_path.iterdir()} == {
        "README.md", "atlas.json", "results.json", "accuracy_matrix.png", "reuse.png", ".checkpoints", ".history",
        ".atlas_hf", *model.tasks,
    }  # fmt: skip
    assert (tmp_path / "reuse.png").read_bytes().startswith(b"\x89PNG")


def test_downstream_tasks_start_from_the_upstream_model(fresh, args, tmp_path):
    model = fresh()
    results = learn_sequence(model, STREAM[:2], args, tmp_path, DOWNSTREAM)
    experience = {task["name"]: task["experience"] for task in results["tasks"]}
    assert experience["has-d"] == experience["has-e"] == ["has-a", "has-b"]
    assert [task["role"] for task in results["tasks"]] == ["upstream", "upstream", "downstream", "downstream"]
    assert len(results["matrix"]) == 2
    alone = fresh()
    learn_sequence(alone, STREAM[:2], args, tmp_path / "alone", DOWNSTREAM[1:])
    assert torch.equal(logits(alone, "has-e"), logits(model, "has-e")), "has-d must not matter to has-e"


def test_a_finished_task_is_never_done_again(fresh, args, tmp_path, monkeypatch):
    learn_sequence(fresh(), STREAM[:2], args, tmp_path / "two")
    shutil.copytree(tmp_path / "two", tmp_path / "three")
    trained, train = [], AtlasTrainer.train
    monkeypatch.setattr(AtlasTrainer, "train", lambda self, *args: (trained.append(self.task), train(self, *args)))
    resumed = learn_sequence(fresh(), STREAM, args, tmp_path / "three")
    assert trained == ["has-c"]
    again = learn_sequence(fresh(), STREAM, args, tmp_path / "three")
    assert trained == ["has-c"] and again["matrix"] == resumed["matrix"]
    whole = learn_sequence(fresh(), STREAM, args, tmp_path / "whole")
    assert whole["matrix"] == resumed["matrix"]
    for file in (tmp_path / "whole").glob("*/*"):
        if file.is_file() and file.parent.name != ".atlas_hf":  # it has digests of cards, which tell times
            assert file.read_bytes() == (tmp_path / "three" / file.parent.name / file.name).read_bytes(), file


def test_a_task_without_its_line_in_the_index_is_learned_again(fresh, args, tmp_path):
    """Killed after the results were written and before atlas.json."""
    learn_sequence(fresh(), STREAM[:1], args, tmp_path)
    index = (tmp_path / "atlas.json").read_text()
    whole = learn_sequence(fresh(), STREAM[:2], args, tmp_path)
    (tmp_path / "atlas.json").write_text(index)
    again = learn_sequence(fresh(), STREAM[:2], args, tmp_path)
    assert again["matrix"] == whole["matrix"] and len(again["tasks"]) == 2


def test_another_sequence_is_refused(fresh, args, tmp_path):
    learn_sequence(fresh(), STREAM[:2], args, tmp_path)
    with pytest.raises(ValueError, match=r"holds the tasks \['has-a', 'has-b'\]; this sequence is \['has-b'"):
        learn_sequence(fresh(), STREAM[1::-1], args, tmp_path)
    other = [(text_spec("has-a", label_names=["n", "y"]), STREAM[0][1]), *STREAM[1:]]
    with pytest.raises(ValueError, match=r"holds \['has-a'\] with another TaskSpec"):
        learn_sequence(fresh(), other, args, tmp_path)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"target_modules": ["attention.output.dense"]}, r"target_modules=.* \(now \['attention.output.dense'\]\)"),
        ({"weighting": "channel"}, r"weighting='adapter' \(now 'channel'\), num_queries=1 \(now"),
    ],
)
def test_what_tasks_that_reuse_one_another_agree_in_stays(fresh, args, learned_once, tmp_path, config, text):
    shutil.copytree(learned_once, tmp_path / "run")
    with pytest.raises(ValueError, match=f"was learned with {text}.* Use the same settings to go on, or another"):
        learn_sequence(fresh(**config), STREAM[:2], args, tmp_path / "run")


def test_what_only_concerns_output_does_not_count(fresh, args, learned_once, tmp_path):
    shutil.copytree(learned_once, tmp_path / "moved")
    args.logging_strategy, args.logging_steps, args.report_to, args.run_name = "steps", 1, ["tensorboard"], "again"
    args.output_dir, args.save_total_limit, args.dataloader_pin_memory = str(tmp_path / "other"), 5, True
    model = AtlasModel.from_pretrained(tmp_path / "moved")  # its config has the backbone's defaults filled in
    assert len(learn_sequence(model, STREAM[:1], args, tmp_path / "moved")["tasks"]) == 1


def test_a_reader_is_shown_what_differs_from_the_defaults(fresh, args, tmp_path):
    args.max_steps, args.optim = 1, "sgd"
    results = learn_sequence(fresh(pooling="mean"), STREAM[:1], args, tmp_path)
    shown, further = results["settings"], results["further_settings"]
    assert {"optim": "sgd", "pooling": "mean", "r": 4, "max_steps": 1, "bf16": False}.items() <= shown.items()
    assert len(shown) == 30 + len(["optim", "pooling"])
    assert not {"output_dir", "hub_token", "report_to", "base_model_name_or_path"} & {*shown, *further}
    table = (tmp_path / "README.md").read_text().partition("| setting | |")[2].partition("\n\n")[0]
    printed = [
        name for name, value in shown.items() if value is not None and name not in ("r", "variant", "weighting")
    ]
    assert "| optim | sgd |" in table and len(table.splitlines()) == 2 + len(printed)


def test_no_reuse_is_an_experience_of_none(fresh, args, tmp_path):
    args.max_steps = 1
    learn_sequence(fresh(), STREAM[:2], args, tmp_path, reuse=False)
    results = learn_sequence(fresh(), STREAM, args, tmp_path, max_experience=0)
    assert [task["experience"] for task in results["tasks"]] == [[], [], []]
    assert results["settings"]["reuse"] is False and results["settings"]["max_experience"] is None
    assert [task["settings"] for task in results["tasks"]] == [{}, {}, {}]


def test_bad_data_is_found_before_anything_is_learned(fresh, args, tmp_path):
    empty = {name: split.select([]) if name == "test" else split for name, split in STREAM[1][1].items()}
    with pytest.raises(ValueError, match="Task 'has-b': the split 'test' is empty"):
        learn_sequence(fresh(), [STREAM[0], (STREAM[1][0], empty)], args, tmp_path)
    with pytest.raises(ValueError, match=r"Task 'has-a' lacks the split\(s\) \['test'\]; it has"):
        learn_sequence(fresh(), [(STREAM[0][0], {"train": STREAM[0][1]["train"]})], args, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_where_the_command_is_run(fresh, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    learn_sequence(
        fresh(), STREAM[:1], AtlasTrainingArguments(max_steps=1, report_to="none", use_cpu=True), tmp_path / "run"
    )
    assert list(elsewhere.iterdir()) == []


def test_independent_adapters_reuse_nothing(fresh, args, tmp_path):
    results = learn_sequence(fresh(), STREAM[:2], args, tmp_path, reuse=False)
    assert [task["experience"] for task in results["tasks"]] == [[], []]


def test_mean_coefficients_are_the_means(fresh, args, tmp_path):
    model = fresh()
    learn_sequence(model, STREAM[:2], args, tmp_path)
    data = STREAM[1][1]["test"]
    found = mean_coefficients(model, "has-b", data, batch_size=5)
    one = model.coefficients("has-b", **model.collator("has-b").inputs([data[i] for i in range(len(data))]))
    for site, values in one.items():
        assert list(found[site]) == ["has-a", "has-b"]
        assert list(found[site].values()) == pytest.approx(values.mean(0).tolist(), abs=1e-6)


def test_evaluation_does_not_depend_on_the_random_state(fresh, args, tmp_path):
    model = fresh()
    learn_sequence(model, STREAM[:1], args, tmp_path)
    scores = [evaluate_task(model, "has-a", STREAM[0][1]["test"], args) for _ in range(2)]
    assert scores[0]["loss"] == scores[1]["loss"]
    state = torch.random.get_rng_state()
    evaluate_task(model, "has-a", STREAM[0][1]["test"], args)
    assert torch.equal(state, torch.random.get_rng_state())
