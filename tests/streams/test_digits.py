"""The digits stream: its data is right, fair and repeatable; its backbone loads and knows every word."""

import re
from collections import Counter
from random import Random

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from atlas_hf.hub import SHIPPED_BACKBONES
from atlas_hf.streams import digits as stream
from atlas_hf.streams.digits import pretraining as pretrain_digits
from atlas_hf.streams.digits import pretraining_texts as pretrain_texts
from atlas_hf.streams.digits.examples import ANSWERS
from atlas_hf.streams.digits.scenes import COLOURS, DIGITS, EMPTY, HIDDEN, POSITIONS, SPLITS, handwriting, write_scenes
from atlas_hf.streams.digits.tasks import TASKS, split_of_question

SIZES = {"train_size": 24, "validation_size": 6, "test_size": 8}


def examples(name: str, n: int, split: str = "train") -> list[dict]:
    rng = np.random.default_rng(SPLITS.index(split))
    return [TASKS[name].example(rng, split) for _ in range(n)]


def values_by_column(dataset) -> dict:
    """Every column as plain values, image files as their bytes."""
    columns = dataset.with_format("arrow")[:].to_pydict()
    return {name: [v["bytes"] if isinstance(v, dict) else v for v in values] for name, values in columns.items()}


# --- entry points


def test_orders_are_those_of_the_paper():
    for order, expected in {
        "multi-first": ["entailment", "text-choice", "image-class", "vqa"],
        "mono-first": ["text-choice", "entailment", "vqa", "image-class"],
    }.items():
        assert [spec.name for spec, _ in stream.load(order, **SIZES)] == expected
    assert [spec.name for spec, _ in stream.load_downstream(**SIZES)] == list(stream.DOWNSTREAM)
    assert set(stream.DOWNSTREAM) | set(stream.ORDERS["mono-first"]) == set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_splits_have_their_sizes_and_fit_the_spec(name):
    spec, data = stream.load_task(name, 24, 6, 8)
    assert {split: len(data[split]) for split in data} == {"train": 24, "validation": 6, "test": 8}
    for split in data:
        spec.check_dataset(data[split], split)
    for column in spec.image_columns:
        assert data["test"][0][column].size == (32, 32) and data["test"][0][column].mode == "RGB"
    if spec.choices_column:
        assert all(len(set(choices)) == spec.num_choices for choices in data["train"][spec.choices_column])


@pytest.mark.parametrize("name", TASKS)
def test_data_depends_on_the_seed_and_a_smaller_size_is_the_beginning_of_a_larger(name):
    large, small = (stream.load_task(name, size, 2, 2)[1]["train"] for size in (20, 10))
    other = stream.load_task(name, 20, 2, 2, seed=1)[1]["train"]
    assert values_by_column(large) == values_by_column(stream.load_task(name, 20, 2, 2)[1]["train"])
    assert values_by_column(large.select(range(10))) == values_by_column(small)
    assert values_by_column(large) != values_by_column(other)


def test_a_task_is_the_same_in_both_orders_and_alone():
    one, two = ({s.name: d for s, d in stream.load(order, **SIZES)} for order in stream.ORDERS)
    assert values_by_column(one["vqa"]["test"]) == values_by_column(two["vqa"]["test"])
    ((_, alone),) = stream.load(**SIZES, tasks=["vqa"])
    assert values_by_column(one["vqa"]["test"]) == values_by_column(alone["test"])


def test_chosen_tasks_keep_the_order():
    loaded = stream.load("multi-first", **SIZES, tasks=["vqa", "entailment"])
    assert [spec.name for spec, _ in loaded] == ["entailment", "vqa"]


def test_unknown_names_are_refused_with_the_possible_ones():
    with pytest.raises(ValueError, match="Order 'paper' does not exist; possible are multi-first, mono-first"):
        stream.load("paper")
    with pytest.raises(ValueError, match="no task 'vcr' here; possible are entailment, text-choice, image-class, vqa"):
        stream.load(tasks=["vcr"])
    with pytest.raises(ValueError, match="no task 'vqa' here; possible are visual-choice, text-class"):
        stream.load_downstream(tasks=["vqa"])
    with pytest.raises(ValueError, match="no task 'x' here; possible are vqa, entailment"):
        stream.load_task("x")
    with pytest.raises(ValueError, match="Split 'dev' does not exist; possible are train, validation, test"):
        handwriting("dev")


def test_low_shot_is_a_seeded_sample_of_train_only():
    data = stream.load_task("text-class", 200, 3, 3)[1]
    texts = [stream.low_shot(data, 20, seed)["train"]["text"][:] for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0] != data["train"]["text"][:20] and set(texts[0]) <= set(data["train"]["text"])
    assert len(stream.low_shot(data, 20)["test"]) == 3
    with pytest.raises(ValueError, match="Cannot draw 201 training examples; give a number between 1 and 200"):
        stream.low_shot(data, 201)


# --- the splits share nothing


def test_no_handwriting_is_in_two_splits():
    ids = [set(handwriting(split).ids.tolist()) for split in SPLITS]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 1797
    assert all(min(handwriting(split).counts) > 15 for split in SPLITS)


@pytest.mark.parametrize("split", SPLITS)
def test_scenes_are_written_in_the_handwriting_of_their_split(split):
    digits = np.tile(np.arange(8).reshape(2, 4), (3, 1))
    colours = np.full_like(digits, COLOURS.index("white"))
    pixels = write_scenes(digits, colours, handwriting(split), np.random.default_rng(0))
    written = (20 + handwriting(split).cells * 225).astype(np.uint8)
    known = {cell.tobytes(): index for index, cell in enumerate(written)}
    labels = np.repeat(np.arange(10), handwriting(split).counts)
    for scene, row in zip(pixels[..., 0], digits, strict=True):
        cells = [scene[r : r + 16, c : c + 16] for r in (0, 16) for c in (0, 16)]
        assert [labels[known[np.ascontiguousarray(cell).tobytes()]] for cell in cells] == row.tolist()


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.spec.modality == "text"])
def test_no_test_question_of_a_text_task_is_in_train(name):
    keys = [{TASKS[name].key(row) for row in examples(name, 1000, split)} for split in SPLITS]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    assert all(split_of_question(key) == "test" for key in keys[2])


# --- the labels are right


def cell_of(text: str) -> int:
    return next(index for index, position in enumerate(POSITIONS) if position in text)


def vqa_answer(scene, question: str) -> str:
    words = question.split()
    digits, colours = [DIGITS[d] for d in scene.digits], [COLOURS[c] for c in scene.colours]
    if question.startswith("what digit is in"):
        return digits[cell_of(question)]
    if question.startswith("what digit is"):
        assert colours.count(words[3]) == 1
        return digits[colours.index(words[3])]
    if question.startswith("how many"):
        return DIGITS[colours.count(words[4])]
    if question.startswith("where"):
        assert colours.count(words[3]) == 1
        return POSITIONS[colours.index(words[3])]
    return colours[digits.index(words[4]) if words[4] in DIGITS else cell_of(question)]


def test_vqa_scores_the_right_answer_highest():
    for row in examples("vqa", 600):
        best = row["answers"][int(np.argmax(row["scores"]))]
        assert ANSWERS[best] == vqa_answer(row["image"], row["question"]), row
        assert set(row["scores"]) <= {0.3, 0.6, 0.9, 1.0} and max(row["scores"]) >= 0.9


def test_entailment_is_neutral_exactly_when_the_cell_is_hidden():
    for row in examples("entailment", 400):
        cell, word = cell_of(row["hypothesis"]), row["hypothesis"].split()[-1]
        digit, colour = row["image"].digits[cell], row["image"].colours[cell]
        assert list(row["image"].digits).count(HIDDEN) == 1
        true = word in (DIGITS[digit], COLOURS[colour], ("even", "odd")[digit % 2])
        assert row["label"] == (1 if digit == HIDDEN else 0 if true else 2), row


def holds(asked: str, number: int) -> bool:
    words = asked.split()
    limit = DIGITS.index(words[-1]) if words[-1] in DIGITS else None
    return {
        "even": number % 2 == 0,
        "odd": number % 2 == 1,
        "more": limit is not None and number > limit,
        "less": limit is not None and number < limit,
        "after": number == (limit or 0) + 1,
        "before": number == (limit or 0) - 1,
    }[words[0]]


def test_text_answers_follow_from_the_text():
    for row in examples("text-choice", 300):
        asked = re.fullmatch(r"what is (.+) \?", row["question"])[1]
        assert [holds(asked, DIGITS.index(choice)) for choice in row["choices"]] == [
            row["label"] == 0,
            row["label"] == 1,
        ]
    for row in examples("text-class", 300):
        numbers, asked = re.fullmatch(r"how many of (.+) are (.+) \?", row["text"]).groups()
        assert row["label"] == sum(holds(asked, DIGITS.index(number)) for number in numbers.split(" , ")), row


def test_image_labels_follow_from_the_scene():
    for row in examples("image-class", 200):
        odd = [c for c in range(4) if list(row["image"].colours).count(row["image"].colours[c]) == 1]
        assert [row["image"].digits[cell] for cell in odd] == [row["label"]]
    for row in examples("image-parity", 200):
        parities = [digit % 2 for digit in row["image"].digits if digit != EMPTY]
        assert len(parities) == 2 and {0: 0, 2: 1, 1: 2}[sum(parities)] == row["label"]


def test_visual_choice_has_one_true_choice_and_no_choice_stands_out():
    for row in examples("visual-choice", 200):
        cell = cell_of(row["question"])
        true = f"a {COLOURS[row['image'].colours[cell]]} {DIGITS[row['image'].digits[cell]]}"
        assert row["choices"][row["label"]] == true and row["choices"].count(true) == 1
        assert set(Counter(" ".join(row["choices"]).split()).values()) == {2, 4}


def test_image_pairs_statements_are_judged_right():
    for row in examples("image-pairs", 400):
        word = re.search(r"shows? a (\w+)", row["statement"])[1]
        shown = sum(
            word in [DIGITS[d] for d in scene.digits] + [COLOURS[c] for c in scene.colours]
            for scene in (row["left"], row["right"])
        )
        assert row["label"] == (shown == {"both": 2, "only": 1, "none": 0}[row["statement"].split()[0]]), row


# --- no shortcut


def score_of_best_guess(name: str, text_of) -> float:
    """Test score of the best answer to each text in train: what a model that does not see the image can reach."""
    spec, seen = TASKS[name].spec, {}
    for row in examples(name, 6000):
        for label, score in scored(spec, row):
            seen.setdefault(text_of(row), Counter())[label] += score
    rows = examples(name, 1000, "test")
    return float(np.mean([dict(scored(spec, r)).get(seen[text_of(r)].most_common(1)[0][0], 0) for r in rows]))


def scored(spec, row) -> list[tuple[int, float]]:
    several = spec.score_column is not None
    return list(zip(row[spec.label_column], row[spec.score_column], strict=True)) if several else [(row["label"], 1.0)]


@pytest.mark.parametrize("name", TASKS)
def test_random_baseline_is_the_score_of_the_best_constant_answer(name):
    assert score_of_best_guess(name, lambda row: "") == pytest.approx(TASKS[name].spec.random_baseline, abs=0.03)


@pytest.mark.parametrize(
    ("name", "column", "limit"),
    [("vqa", "question", 0.21), ("entailment", "hypothesis", 0.40), ("image-pairs", "statement", 0.55)],
)
def test_the_text_alone_says_little(name, column, limit):
    assert score_of_best_guess(name, lambda row: row[column]) < limit


def test_which_cell_is_hidden_says_nothing_about_entailment():
    assert score_of_best_guess("entailment", lambda row: list(row["image"].digits).index(HIDDEN)) < 0.40


# --- the backbone


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(stream.backbone_path())


@pytest.mark.parametrize("name", TASKS)
def test_every_word_has_a_token_and_every_text_fits(name, processor):
    spec, tokenizer = TASKS[name].spec, processor.tokenizer
    for row in [*examples(name, 400), *examples(name, 100, "test")]:
        text = " ".join(row[column] for column in spec.text_columns) or "an image"
        for choice in row[spec.choices_column] if spec.choices_column else [None]:
            ids = tokenizer(text, choice)["input_ids"]
            assert tokenizer.unk_token_id not in ids and len(ids) <= pretrain_texts.MAX_TEXT, text


def test_backbone_is_small_and_loads_in_float32(processor):
    path = stream.backbone_path()
    assert sum(file.stat().st_size for file in path.iterdir()) < 3_000_000 and (path / "README.md").exists()
    model = AutoModel.from_pretrained(path)
    assert model.config.model_type == "vilt" and model.dtype == torch.float32
    image = stream.load_task("vqa", 2, 1, 1)[1]["train"][0]["image"]
    output = model(**processor(image, "what digit is red ?", return_tensors="pt"))
    assert output.pooler_output.shape == (1, 128) and torch.isfinite(output.pooler_output).all()


def test_shipped_tokens_are_those_of_pretraining(processor):
    assert processor.tokenizer.get_vocab() == {word: i for i, word in enumerate(pretrain_texts.VOCABULARY)}
    pair = processor.tokenizer("red", "blue")
    assert processor.tokenizer.decode(pair["input_ids"]) == "[CLS] red [SEP] blue [SEP]"
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1]


def test_pretraining_never_sees_what_the_card_says_it_has_not_seen():
    digits, colours = pretrain_texts.random_scenes(500, np.random.default_rng(0))
    assert ((digits + colours)[digits >= 0] % 6 != 0).all()
    random, seen = Random(0), set()
    for scene in zip(digits.tolist(), colours.tolist(), strict=True):
        seen |= set(pretrain_texts.write_sample(*scene, random).ids)
    words = {pretrain_texts.VOCABULARY[index] for index in seen}
    assert not words & {"even", "odd", "what", "is", "digit", "how", "which", "larger", "largest", "both", "images"}


def test_pretraining_computes_what_the_whole_model_computes():
    torch.manual_seed(0)
    batch = pretrain_digits.make_batches(8, "train", Random(0), np.random.default_rng(0))[1]
    pretrain_digits.check_shortcuts(pretrain_digits.build_model(), pretrain_texts.build_processor(), batch)
    result = pretrain_digits.Pretraining()(*batch)
    result["loss"].backward()
    assert torch.isfinite(result["loss"])


def test_the_shipped_backbone_is_found_by_its_id():
    assert {stream.BACKBONE_ID: stream.backbone_path()} == SHIPPED_BACKBONES
