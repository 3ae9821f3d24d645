"""Small scenes of real handwriting: a 2 x 2 grid of scikit-learn's digits in coloured ink, as 32 x 32 images."""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

SPLITS = ("train", "validation", "test")
SPLIT_ENDS = (0.64, 0.76, 1.0)  # of each digit's images: where train, validation and test end

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
POSITIONS = ("top left", "top right", "bottom left", "bottom right")
INKS = np.array(
    [(235, 50, 50), (50, 205, 70), (70, 110, 255), (245, 220, 40), (205, 70, 235), (245, 245, 245)], np.float32
)
BACKGROUND = 20.0
EMPTY, HIDDEN = -1, -2  # in the place of a digit: nothing written there; something covered by a chequered card

CELL, MARGIN = 16, 1
IMAGE_SIZE = 2 * CELL


@dataclass
class Scene:
    """What four cells hold, in the order of `POSITIONS`.

    Args:
        digits: 0 to 9, `EMPTY` or `HIDDEN`.
        colours: index into `COLOURS`; of no meaning where no digit shows.
    """

    digits: list[int]
    colours: list[int]


@dataclass(frozen=True)
class Handwriting:
    """The images of one split, sorted by digit.

    Args:
        cells: (n, 16, 16) float32 in [0, 1], how much ink.
        ids: (n,) row of each image in `sklearn.datasets.load_digits`.
        starts: (10,) where each digit's images begin in `cells`.
        counts: (10,) how many images each digit has.
    """

    cells: np.ndarray
    ids: np.ndarray
    starts: np.ndarray
    counts: np.ndarray


@cache
def handwriting(split: str) -> Handwriting:
    """The handwriting of one split. Images are divided per digit with a fixed seed, before any scene is made.

    Raises a `ValueError` for a split that is not in `SPLITS`.
    """
    if split not in SPLITS:
        raise ValueError(f"Split {split!r} does not exist; possible are {', '.join(SPLITS)}.")
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    source = load_digits()
    ids = [_split_rows(np.flatnonzero(source.target == digit), split) for digit in range(10)]
    counts = np.array([len(rows) for rows in ids])
    rows = np.concatenate(ids)
    cells = np.stack([_enlarge(image) for image in source.images[rows]])
    return Handwriting(cells, rows, np.cumsum(counts) - counts, counts)


def _split_rows(rows: np.ndarray, split: str) -> np.ndarray:
    rows = np.random.default_rng(2410).permutation(rows)
    ends = [0] + [round(end * len(rows)) for end in SPLIT_ENDS]
    index = SPLITS.index(split)
    return np.sort(rows[ends[index] : ends[index + 1]])


def _enlarge(image: np.ndarray) -> np.ndarray:
    """An 8 x 8 image of 0 to 16 as a 16 x 16 cell of 0 to 1, with a margin so that digits do not touch."""
    size = CELL - 2 * MARGIN
    enlarged = Image.fromarray(image.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR)
    return np.pad(np.asarray(enlarged) / 16, MARGIN).astype(np.float32)


def write_scenes(digits: np.ndarray, colours: np.ndarray, source: Handwriting, rng: np.random.Generator) -> np.ndarray:
    """Write every digit in a hand drawn at random from `source`: (n, 32, 32, 3) uint8.

    `digits` and `colours` are those of n scenes, each (n, 4) int.
    """
    shown = np.maximum(digits, 0)
    picks = source.starts[shown] + (rng.random(digits.shape) * source.counts[shown]).astype(int)
    ink = source.cells[picks] * (digits >= 0)[..., None, None]
    pixels = BACKGROUND + ink[..., None] * (INKS[colours] - BACKGROUND)[:, :, None, None, :]
    pixels[digits == HIDDEN] = _card()
    grid = pixels.reshape(-1, 2, 2, CELL, CELL, 3).transpose(0, 1, 3, 2, 4, 5)
    return grid.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3).astype(np.uint8)


def _card() -> np.ndarray:
    """(16, 16, 1): the chequered card that covers a hidden cell."""
    rows, columns = np.indices((CELL, CELL)) // 2
    return np.where((rows + columns) % 2, 150.0, 90.0)[..., None]


def png(pixels: np.ndarray) -> bytes:
    """(32, 32, 3) uint8 as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
