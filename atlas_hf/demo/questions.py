"""What is asked of a model: checked before it runs, with errors for people, and answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from PIL import Image

from atlas_hf.data import Encoder, example_rows
from atlas_hf.data.pixels import UNREADABLE, pixels
from atlas_hf.model.atlas_model import AtlasModel
from atlas_hf.tasks import TaskSpec

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 25_000_000
MAX_CHARACTERS = 2_000


@dataclass(frozen=True)
class Question:
    """An input of a task, as a person gives it: paths of up to two images, a text, a line for each choice.

    Of a task with several text columns, `text` has a line for each.
    """

    task: str
    images: tuple[str, ...] = ()
    text: str = ""
    choices: str = ""

    def arguments(self, spec: TaskSpec) -> dict[str, Any]:
        """Arguments of `AtlasModel.predict`. Raises a `ValueError` that says what is missing or too much."""
        images, texts = tuple(self._images(spec)), tuple(self._texts(spec))
        given = {"images": images, "texts": texts, "choices": self._choices(spec)}
        return {name: values for name, values in given.items() if values}

    def _images(self, spec: TaskSpec) -> list[Image.Image]:
        needed = len(spec.image_columns)
        if len(self.images) != needed:
            wanted = ("no image", "an image", "two images")[needed]
            raise ValueError(f"The task {spec.name} takes {wanted}; you gave {len(self.images) or 'none'}.")
        return [open_image(path) for path in self.images]

    def _texts(self, spec: TaskSpec) -> list[str]:
        columns = spec.text_columns
        if not columns:
            return self._unwanted(spec, self.text, "text")
        texts = [self.text.strip()] if len(columns) == 1 else _lines(self.text)
        if len(texts) != len(columns) or not all(texts):
            lines = f" in {len(columns)} lines" if len(columns) > 1 else ""
            raise ValueError(f"The task {spec.name} needs {_and(columns)}{lines}. Write it, or click an example.")
        return [_short(text, column) for text, column in zip(texts, columns, strict=True)]

    def _choices(self, spec: TaskSpec) -> list[str]:
        if not spec.choices_column:
            return self._unwanted(spec, self.choices, "choices")
        choices = _lines(self.choices)
        if len(choices) != spec.num_choices:
            raise ValueError(
                f"The task {spec.name} chooses among {spec.num_choices}; you gave {len(choices) or 'none'}. Write one "
                "choice per line."
            )
        return [_short(choice, "choice") for choice in choices]

    def _unwanted(self, spec: TaskSpec, value: str, name: str) -> list[str]:
        if value.strip():
            raise ValueError(f"The task {spec.name} takes no {name}; leave it empty.")
        return []


@dataclass(frozen=True)
class Answer:
    """Answers with scores, best first; seconds of the prediction; coefficients by site and member; what to know."""

    question: Question
    answers: Sequence[Mapping[str, Any]]
    seconds: float
    coefficients: Mapping[str, Mapping[str, float]]
    notes: Sequence[str]


def ask(model: AtlasModel, question: Question) -> Answer:
    """Answer a question, with the coefficient that each adapter had at each site for this very input.

    Of a question with several rows in the backbone (choices, a pair of images), coefficients are means over them; so
    they are over hidden channels for `weighting="channel"`.

    Raises a `ValueError` that a person understands if the input is not what the task takes.
    """
    given = question.arguments(model.specs[question.task])
    started = perf_counter()
    answers = model.predict(question.task, **given)
    seconds = perf_counter() - started
    coefficients = _coefficients(model, question.task, given)
    return Answer(question, answers, seconds, coefficients, notes(model.preprocessor, given))


def _coefficients(model: AtlasModel, task: str, given: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    rows, _ = example_rows(model.specs[task], *(given.get(name) for name in ("images", "texts", "choices")))
    inputs = model.collator(task).inputs(rows)
    found = model.coefficients(task, **{name: tensor.to(model.device) for name, tensor in inputs.items()})
    return {site: {name: weight.mean for name, weight in sites.items()} for site, sites in found.by_site().items()}


def notes(encoder: Encoder, given: Mapping[str, Any]) -> list[str]:
    """What the model will not read of a text: what is beyond its length, and words that it does not know."""
    texts = [*given.get("texts", ()), *given.get("choices", ())]
    if not texts:
        return []
    found, tokenizer = [], encoder.uncut
    length = max(len(tokenizer(text).input_ids) for text in texts)
    if encoder.max_length and length > encoder.max_length:
        found.append(f"The text has {length} tokens; the model reads the first {encoder.max_length}.")
    words = dict.fromkeys(word for text in texts for word in text.split())
    unknown = [word for word in words if tokenizer.unk_token_id in tokenizer(word, add_special_tokens=False).input_ids]
    if tokenizer.unk_token_id is not None and unknown:
        found.append(f"The model does not know {_and(unknown[:8])}; it was trained without.")
    return found


def open_image(path: str) -> Image.Image:
    """An image of a usual format and size, upright. Raises a `ValueError` that a person understands."""
    try:
        image = Image.open(path, formats=FORMATS)
    except UNREADABLE as error:
        raise _no_image() from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(
                f"The image has {image.width:,} x {image.height:,} pixels; at most {MAX_PIXELS // 10**6} million are "
                "read. Make it smaller."
            )
        try:
            return pixels(image)
        except ValueError as error:
            raise _no_image() from error


def _no_image() -> ValueError:
    return ValueError(f"This file is no image that can be read ({', '.join(FORMATS)}).")


def _short(text: str, name: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"The {name} has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read. Shorten it.")
    return text


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _and(words: Sequence[str]) -> str:
    quoted = [f"‘{word}’" for word in words]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
