"""The sentences that the backbone of the digits stream is pretrained on, and the processor that knows their words.

They speak of the same things as the tasks (digits, colours, places) in other sentence forms, never of parity, never
of hypotheses, choices or pairs, and one in six pairs of digit and colour never occurs (`random_scenes`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, ViltImageProcessorPil, ViltProcessor

from atlas_hf.streams.digits.scenes import COLOURS, DIGITS, EMPTY, HIDDEN, IMAGE_SIZE, POSITIONS

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PRETRAINING_WORDS = "nothing card at any read ink of number place count less more than after before yes no".split()
_TASK_WORDS = (
    "an image a the is in are what where which how many digit digits colour , . ? even odd larger smaller "
    "largest smallest both images show shows only one none of true false"
).split()
VOCABULARY = tuple(
    dict.fromkeys((*_SPECIAL, *DIGITS, *COLOURS, "top", "bottom", "left", "right", *_PRETRAINING_WORDS, *_TASK_WORDS))
)
ANSWERS = (*DIGITS, *COLOURS, *POSITIONS, "nothing", "card", "yes", "no")
MAX_TEXT = 40
PAD = VOCABULARY.index("[PAD]")

_ID = {word: index for index, word in enumerate(VOCABULARY)}
_ANSWER_ID = {answer: index for index, answer in enumerate(ANSWERS)}
_CAPTIONS, _QUESTIONS = 0.30, 0.40  # shares; the rest is text only


def build_processor() -> ViltProcessor:
    """A tokenizer with one token per word of the stream, and an image processor that leaves 32 x 32 images as is."""
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [(token, VOCABULARY.index(token)) for token in ("[CLS]", "[SEP]")]
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=MAX_TEXT,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )
    images = ViltImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, size_divisor=IMAGE_SIZE, do_resize=True)
    return ViltProcessor(images, tokenizer)


@dataclass
class Sample:
    """One training example; token ids with [CLS] and [SEP], `masked` of the same length, -100 where not masked."""

    ids: list[int]
    masked: list[int]
    answer: int | None
    text_only: bool


def random_scenes(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) digits and (n, 4) colours; one cell in eight is empty and one in eight covered."""
    digits, colours = rng.integers(10, size=(size, 4)), rng.integers(len(COLOURS), size=(size, 4))
    never_together = (digits + colours) % len(COLOURS) == 0
    colours = np.where(never_together, (colours + 1) % len(COLOURS), colours)
    special = rng.random((size, 4))
    digits[special < 0.125] = EMPTY
    digits[special > 0.875] = HIDDEN
    return digits, colours


def write_sample(digits: list[int], colours: list[int], random: Random) -> Sample:
    """A caption with masked words, a question about the scene, or a text that needs no image."""
    kind = random.random()
    if kind < _CAPTIONS:
        return _sample(*_caption(digits, colours, random), None, False)
    if kind < _CAPTIONS + _QUESTIONS:
        words, answer = _question(digits, colours, random)
        return _sample(words, (), answer, False)
    text, answer = _text_question(random)
    return _sample(text, (), answer, True)


def _sample(words: list[str], hide: Sequence[int], answer: str | None, text_only: bool) -> Sample:
    ids = [_ID["[CLS]"], *(_ID[word] for word in words), _ID["[SEP]"]]
    masked = [-100] * len(ids)
    for place in hide:
        masked[place + 1], ids[place + 1] = ids[place + 1], _ID["[MASK]"]
    return Sample(ids, masked, None if answer is None else _ANSWER_ID[answer], text_only)


def _name(digit: int, colour: int) -> list[str]:
    if digit < 0:
        return ["nothing"] if digit == EMPTY else ["card"]
    return [COLOURS[colour], DIGITS[digit]]


def _caption(digits: list[int], colours: list[int], random: Random) -> tuple[list[str], list[int]]:
    """Cells in any order, place first or last; and which words to mask: mostly what is in a cell, or where it is."""
    words: list[str] = []
    hide: list[int] = []
    for cell in random.sample(range(4), random.choice((2, 3, 4))):
        place, name = POSITIONS[cell].split(), _name(digits[cell], colours[cell])
        parts = place + name if random.random() < 0.5 else name + place
        hidden = place if random.random() < 0.15 else [word for word in name if random.random() < 0.7]
        hide += [len(words) + index for index, word in enumerate(parts) if word in hidden]
        words += [*parts, ","]
    return words[:-1], hide


def _question(digits: list[int], colours: list[int], random: Random) -> tuple[list[str], str]:
    """A question about one cell, and its answer; about an attribute only if one cell alone has it."""
    cell, form = random.randrange(4), random.randrange(10)
    digit, colour, place = digits[cell], colours[cell], POSITIONS[cell].split()
    if digit < 0:
        return ["read", *place], _name(digit, colour)[0]
    shown = [other for other in range(4) if digits[other] >= 0]
    same_digit = sum(digits[other] == digit for other in shown) > 1
    same_colour = sum(colours[other] == colour for other in shown) > 1
    if form == 6:
        return ["count", "number"], DIGITS[len(shown)]
    if form > 7:
        return _any(digits, colours, random)
    if form == 7:
        return _matches(digits, colours, cell, random)
    if form == 0 or (form in (2, 4) and same_digit):
        return ["ink", *place], COLOURS[colour]
    if form == 1 or (form in (3, 5) and same_colour):
        return ["read", *place], DIGITS[digit]
    return {
        2: (["ink", "of", "number", DIGITS[digit]], COLOURS[colour]),
        3: (["number", "of", COLOURS[colour], "ink"], DIGITS[digit]),
        4: (["place", "of", "number", DIGITS[digit]], POSITIONS[cell]),
        5: (["place", "of", COLOURS[colour], "ink"], POSITIONS[cell]),
    }[form]


def _matches(digits: list[int], colours: list[int], cell: int, random: Random) -> tuple[list[str], str]:
    """Does the caption of one cell match? In half of the cases one of its two attributes is another."""
    digit, colour, answer = digits[cell], colours[cell], "yes"
    if random.random() < 0.5:
        answer = "no"
        if random.random() < 0.5:
            digit = (digit + random.randrange(1, 10)) % 10
        else:
            colour = (colour + random.randrange(1, len(COLOURS))) % len(COLOURS)
    return [COLOURS[colour], DIGITS[digit], "at", *POSITIONS[cell].split()], answer


def _any(digits: list[int], colours: list[int], random: Random) -> tuple[list[str], str]:
    """Is there a digit, or a colour, anywhere? Yes in half of the cases."""
    seeks_colour = random.random() < 0.5
    present = {(colours if seeks_colour else digits)[cell] for cell in range(4) if digits[cell] >= 0}
    names, kind = (COLOURS, "ink") if seeks_colour else (DIGITS, "number")
    options = sorted(present) if random.random() < 0.5 else []
    options = options or [value for value in range(len(names)) if value not in present]
    value = random.choice(options)
    return ["any", kind, names[value]], "yes" if value in present else "no"


def _text_question(random: Random) -> tuple[list[str], str]:
    """The order of the numbers, and questions about a sentence that gives two or three colours a number each."""
    form, (a, b) = random.randrange(8), random.sample(range(10), 2)
    if form == 0:
        smaller = random.random() < 0.5
        words = [DIGITS[a], "less" if smaller else "more", "than", DIGITS[b]]
        return words, "yes" if (a < b) == smaller else "no"
    if form == 1:
        a = min(a, 8)
        known, asked, word = random.choice(((a, a + 1, "after"), (a + 1, a, "before")))
        return [word, DIGITS[known]], DIGITS[asked]
    told = 2 if form > 4 else random.choice((2, 3))
    numbers, inks = random.sample(range(10), told), random.sample(range(len(COLOURS)), told)
    words = _sentence(numbers, inks, random)
    asked = random.randrange(told)
    if form == 2:
        return [*words, "ink", "of", "number", DIGITS[numbers[asked]]], COLOURS[inks[asked]]
    if form < 5:
        return [*words, "number", "of", COLOURS[inks[asked]], "ink"], DIGITS[numbers[asked]]
    best, relation = random.choice(((max(numbers), "more"), (min(numbers), "less")))
    return [*words, relation], COLOURS[inks[numbers.index(best)]]


def _sentence(numbers: list[int], inks: list[int], random: Random) -> list[str]:
    """`red three , blue seven ,` or `red at three , blue at seven ,` or the other way round."""
    joint, number_first = random.choice(([], ["at"])), random.random() < 0.3
    words = []
    for number, ink in zip(numbers, inks, strict=True):
        pair = (COLOURS[ink], DIGITS[number])
        first, second = pair[::-1] if number_first else pair
        words += [first, *joint, second, ","]
    return words
