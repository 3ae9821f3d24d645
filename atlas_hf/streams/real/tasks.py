"""The tasks of the stream: what each of them is (`TaskSpec`), its rows, and its splits."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, Features, Value

from atlas_hf.streams.real import ratings, wordnet
from atlas_hf.tasks import TaskSpec

Row = tuple[Any, ...]  # the texts of `TaskSpec.text_columns`, then the label
SPLITS = ("test", "validation", "train")
HELD_OUT = ((4, 1000), (10, 500))  # of every so many rows one, and at most so many: the test and validation splits
TWIN = 2500  # rating rows that no other task has


@dataclass(frozen=True)
class RealTask:
    """A task.

    Args:
        rows: all of them, none twice, in an order that says nothing.
    """

    spec: TaskSpec
    rows: Callable[[], Sequence[Row]]

    def load(self, sizes: Sequence[int | None], seed: int) -> DatasetDict:
        """The splits. Which rows a split has is fixed; the seed orders those of `train`.

        Args:
            sizes: at most so many rows of train, validation and test, its first ones; None for all.
        """
        rows = self.rows()
        ends = np.cumsum([min(len(rows) // share, most) for share, most in HELD_OUT])
        parts = dict(zip(SPLITS, np.split(np.arange(len(rows)), ends), strict=True))
        parts["train"] = np.random.default_rng([seed, *_key(self.spec.name)]).permutation(parts["train"])
        chosen = {split: parts[split][:size] for split, size in zip(SPLITS[::-1], sizes, strict=True)}
        return DatasetDict({split: self._table([rows[i] for i in places]) for split, places in chosen.items()})

    def _table(self, rows: Sequence[Row]) -> Dataset:
        """With a column `length`, by which Trainer can put texts of one length into a batch."""
        columns = {name: [row[i] for row in rows] for i, name in enumerate(self.spec.features)}
        columns["length"] = [sum(map(len, row[:-1])) for row in rows]
        return Dataset.from_dict(columns, features=Features({**self.spec.features, "length": Value("int32")}))


def _key(name: str) -> list[int]:
    return [zlib.crc32(name.encode())]


def rated(name: str) -> list[Row]:
    """As many negative texts as positive ones, in turn, drawn from those whose rating is clear."""
    texts = ratings.read(name)
    rng = np.random.default_rng(_key(name))
    by_label = [[text for text, label in texts.items() if label == wanted] for wanted in (0, 1)]
    size = min(map(len, by_label))
    drawn = [[texts[i] for i in rng.permutation(len(texts))[:size]] for texts in by_label]
    return [(text, label) for pair in zip(*drawn, strict=True) for label, text in enumerate(pair)]


def shuffled(rows: Callable[[], Sequence[Row]]) -> list[Row]:
    """The rows with each other's labels."""
    found = rows()
    order = np.random.default_rng(_key("shuffled")).permutation(len(found))
    return [(*row[:-1], found[i][-1]) for row, i in zip(found, order, strict=True)]


def _nouns() -> list[wordnet.Noun]:
    found = wordnet.nouns()
    return [found[i] for i in np.random.default_rng(_key("nouns")).permutation(len(found))]


def glosses() -> list[Row]:
    """Every definition with the class of what it defines."""
    return [(noun.gloss, noun.label) for noun in _nouns()]


def word_defines() -> list[Row]:
    """Every definition with a word that it defines, or, every second one, with another's of the same class.

    Those words are passed on among these definitions, so that a word alone says nothing of the label.
    """
    nouns = _nouns()
    rows = [(noun.words[0], noun.gloss, 1) for noun in nouns]
    for label in range(len(wordnet.LABELS)):
        places = [i for i in range(0, len(nouns), 2) if nouns[i].label == label]
        for place, source in zip(places, places[1:] + places[:1], strict=True):
            other = nouns[source].words[0]
            rows[place] = (other, nouns[place].gloss, int(other in nouns[place].words))
    return rows


def _task(rows: Callable[[], Sequence[Row]], name: str, description: str, **columns: Any) -> RealTask:
    given: dict[str, Any] = {"text_columns": ("text",), "label_names": ratings.LABELS, "random_baseline": 0.5}
    given |= {"description": description} | columns
    return RealTask(TaskSpec(name, "single_label_classification", **given), rows)


_RATED = partial(_task, dataset_id=f"{ratings.PACKAGE.name} {ratings.PACKAGE.version}")
_NOUNS = partial(_task, dataset_id="WordNet 3.0")
_TASKS = (
    _RATED(
        lambda: rated("movieReviewSnippets")[:-TWIN], "movies", "Is a sentence of a film review positive or negative?"
    ),
    _RATED(
        lambda: rated("amazonReviewSnippets"), "products", "Is a sentence of a product review positive or negative?"
    ),
    _RATED(lambda: rated("tweets"), "tweets", "Is a tweet positive or negative?"),
    _RATED(
        lambda: rated("nytEditorialSnippets"), "editorials", "Is a sentence of an opinion piece positive or negative?"
    ),
    _NOUNS(
        glosses, "glosses", "Which of twelve kinds of thing does a definition define?",
        text_columns=("gloss",), label_names=wordnet.LABELS, random_baseline=0.17,
    ),
    _NOUNS(
        word_defines, "word-defines", "Does a definition define a word?",
        text_columns=("word", "gloss"), label_names=("no", "yes"),
    ),
    _RATED(
        lambda: rated("movieReviewSnippets")[-TWIN:], "movies-twin", "The task movies again, with other sentences."
    ),
    _RATED(
        lambda: shuffled(TASKS["movies-twin"].rows), "movies-shuffled", "movies-twin with labels that say nothing.",
    ),
)  # fmt: skip
TASKS: dict[str, RealTask] = {task.spec.name: task for task in _TASKS}
