"""How the tasks of the digits stream make their examples: one function per task, one example per call.

In a row, an image column holds a `Scene`; `DigitTask.make_split` writes it in a split's handwriting.
"""

from typing import Any

import numpy as np

from atlas_hf.streams.digits.scenes import COLOURS, DIGITS, EMPTY, HIDDEN, POSITIONS, Scene

ANSWERS = DIGITS + COLOURS + POSITIONS
FIRST_COLOUR, FIRST_POSITION = len(DIGITS), len(DIGITS) + len(COLOURS)
CONFUSED_WITH = (6, 7, 5, 8, 9, 2, 0, 1, 3, 4, 14, 12, 11, 15, 10, 13, 17, 16, 19, 18)  # indices in `ANSWERS`
AGREEMENT = 0.96  # how likely one of the ten annotators is to give the answer and not the one it is confused with
VOTE_SCORES = (0.0, 0.3, 0.6, 0.9) + (1.0,) * 7  # VQAv2: min(1, votes / 3), rounded as its authors do

Row = dict[str, Any]


def _pick(rng: np.random.Generator, options: int) -> int:
    return int(rng.integers(options))


def _other(rng: np.random.Generator, value: int, options: int) -> int:
    """A number in range(options) that is not `value`."""
    return (value + 1 + _pick(rng, options - 1)) % options


def _distinct(rng: np.random.Generator) -> Scene:
    """Four digits, all of different value and colour."""
    return Scene(rng.permutation(10)[:4].tolist(), rng.permutation(len(COLOURS))[:4].tolist())


def vqa(rng: np.random.Generator) -> Row:
    """Six forms of question; the answers to each are equally frequent, so that the question alone says little."""
    cell, form, scene = _pick(rng, 4), _pick(rng, 6), _distinct(rng)
    digit, colour = scene.digits[cell], scene.colours[cell]
    question, answer = (
        (f"what digit is in the {POSITIONS[cell]} ?", digit),
        (f"what colour is the {POSITIONS[cell]} digit ?", FIRST_COLOUR + colour),
        (f"what colour is the {DIGITS[digit]} ?", FIRST_COLOUR + colour),
        (f"what digit is {COLOURS[colour]} ?", digit),
        (f"where is the {COLOURS[colour]} digit ?", FIRST_POSITION + cell),
        (f"how many digits are {COLOURS[colour]} ?", _pick(rng, 5)),
    )[form]
    # Colours repeat whatever the form of the question is: otherwise the image alone would tell which form it is.
    others = rng.permutation([c for c in range(4) if c != cell]).tolist()
    repeated = answer - 1 if form == 5 else 0
    if form == 5 and answer == 0:
        scene.colours[cell] = _other(rng, colour, len(COLOURS))
    for rank, place in enumerate(others):
        scene.colours[place] = colour if rank < repeated else _other(rng, colour, len(COLOURS))
    return {"image": scene, "question": question, **_votes(rng, answer)}


def _votes(rng: np.random.Generator, answer: int) -> Row:
    """Ten annotators answer; a few give the answer that it is easily confused with."""
    votes = int(rng.binomial(10, AGREEMENT))
    scores = {answer: VOTE_SCORES[votes], CONFUSED_WITH[answer]: VOTE_SCORES[10 - votes]}
    scores = {label: score for label, score in scores.items() if score > 0}
    return {"answers": list(scores), "scores": list(scores.values())}


def entailment(rng: np.random.Generator) -> Row:
    """Every scene hides one cell, so that the image alone does not say which hypotheses are open."""
    scene, hidden, label, form = _distinct(rng), _pick(rng, 4), _pick(rng, 3), _pick(rng, 3)
    scene.digits[hidden] = HIDDEN
    cell = hidden if label == 1 else _other(rng, hidden, 4)
    digit = max(scene.digits[cell], 0)
    words, value = ((DIGITS, digit), (COLOURS, scene.colours[cell]), (("even", "odd"), digit % 2))[form]
    if label == 1:
        value = _pick(rng, len(words))
    elif label == 2:
        value = _other(rng, value, len(words))
    return {"image": scene, "hypothesis": f"the {POSITIONS[cell]} digit is {words[value]}", "label": label}


def text_choice(rng: np.random.Generator) -> Row:
    """Which of two numbers has a property, or stands in a relation to a third."""
    form, label = _pick(rng, 6), _pick(rng, 2)
    low, middle, high = sorted(rng.permutation(10)[:3].tolist())
    even, odd = 2 * _pick(rng, 5), 2 * _pick(rng, 5) + 1
    question, right, wrong = (
        (f"what is more than {DIGITS[middle]} ?", high, low),
        (f"what is less than {DIGITS[middle]} ?", low, high),
        (f"what is after {DIGITS[middle]} ?", middle + 1, _other(rng, middle + 1, 10)),
        (f"what is before {DIGITS[middle]} ?", middle - 1, _other(rng, middle - 1, 10)),
        ("what is even ?", even, odd),
        ("what is odd ?", odd, even),
    )[form]
    choices = [DIGITS[right], DIGITS[wrong]]
    return {"question": question, "choices": choices[::-1] if label else choices, "label": label}


def image_class(rng: np.random.Generator) -> Row:
    """Read the digit whose colour no other digit has."""
    digits, cell, colour = rng.permutation(10)[:4].tolist(), _pick(rng, 4), _pick(rng, len(COLOURS))
    colours = [_other(rng, colour, len(COLOURS))] * 4
    colours[cell] = colour
    return {"image": Scene(digits, colours), "label": digits[cell]}


def visual_choice(rng: np.random.Generator) -> Row:
    """All pairs of two colours and two digits, so that no choice stands out among the four."""
    scene, cell, label = _distinct(rng), _pick(rng, 4), _pick(rng, 4)
    digits = [scene.digits[cell], _other(rng, scene.digits[cell], 10)]
    colours = [scene.colours[cell], _other(rng, scene.colours[cell], len(COLOURS))]
    order = [label ^ place for place in range(4)]  # the true pair (0) comes to stand at `label`
    choices = [f"a {COLOURS[colours[pair // 2]]} {DIGITS[digits[pair % 2]]}" for pair in order]
    return {"image": scene, "question": f"what is in the {POSITIONS[cell]} ?", "choices": choices, "label": label}


def text_class(rng: np.random.Generator) -> Row:
    """How many of three numbers have a property; drawn again until the count is the one wanted."""
    label, form, limit = _pick(rng, 4), _pick(rng, 4), 3 + _pick(rng, 4)
    asked, members = (
        ("even", range(0, 10, 2)),
        ("odd", range(1, 10, 2)),
        (f"more than {DIGITS[limit]}", range(limit + 1, 10)),
        (f"less than {DIGITS[limit]}", range(limit)),
    )[form]
    digits = rng.integers(10, size=3).tolist()
    while sum(digit in members for digit in digits) != label:
        digits = rng.integers(10, size=3).tolist()
    return {"text": f"how many of {' , '.join(DIGITS[digit] for digit in digits)} are {asked} ?", "label": label}


def image_parity(rng: np.random.Generator) -> Row:
    """Two digits; both even, both odd, or one of each."""
    label, first = _pick(rng, 3), _pick(rng, 2)
    parities = ((0, 0), (1, 1), (first, 1 - first))[label]
    digits = [EMPTY] * 4
    for cell, parity in zip(rng.permutation(4)[:2].tolist(), parities, strict=True):
        digits[cell] = 2 * _pick(rng, 5) + parity
    return {"image": Scene(digits, rng.integers(len(COLOURS), size=4).tolist()), "label": label}


def image_pairs(rng: np.random.Generator) -> Row:
    """What is looked for is in the left, the right, both or none of the images, equally often."""
    form, label, seeks_colour = _pick(rng, 3), _pick(rng, 2), _pick(rng, 2)
    words = COLOURS if seeks_colour else DIGITS
    value = _pick(rng, len(words))
    truths = (((1, 1),), ((0, 1), (1, 0)), ((0, 0),))[form]
    cases = truths if label else tuple(c for c in ((0, 0), (0, 1), (1, 0), (1, 1)) if c not in truths)
    has = cases[_pick(rng, len(cases))]
    left, right = (_scene_with(rng, bool(seeks_colour), value, bool(present)) for present in has)
    thing = f"a {words[value]} digit" if seeks_colour else f"a {words[value]}"
    statement = ("both images show {}", "only one image shows {}", "none of the images shows {}")[form].format(thing)
    return {"left": left, "right": right, "statement": statement, "label": label}


def _scene_with(rng: np.random.Generator, is_colour: bool, value: int, present: bool) -> Scene:
    """A scene of distinct digits that has, or has not, the colour or the digit `value`."""
    scene, cell = _distinct(rng), _pick(rng, 4)
    attribute, options = (scene.colours, len(COLOURS)) if is_colour else (scene.digits, 10)
    if present and value not in attribute:
        attribute[cell] = value
    elif not present and value in attribute:
        unused = [v for v in range(options) if v not in attribute]
        attribute[attribute.index(value)] = unused[_pick(rng, len(unused))]
    return scene
