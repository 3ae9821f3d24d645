"""The one way from an image, as anybody gives it, to pixels: training, prediction, command line and demo take it.

What the kinds of images become is `datasets.Image`'s and transformers' own where they have one: upright by the EXIF
orientation (both), transparency over white (`transformers.image_transforms.convert_to_rgb`).
"""

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps

Picture: TypeAlias = str | Path | bytes | Mapping[str, Any] | np.ndarray | torch.Tensor | Image.Image

# What Pillow raises for files that are damaged, or no images.
UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, TypeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
WHITE = (255, 255, 255, 255)
CHANNELS = (1, 3, 4)


def pixels(picture: Picture) -> Image.Image:
    """The image in RGB with 8 bits, upright; one that is so already is returned as it is.

    - EXIF orientation: turned, as a viewer shows it.
    - Transparency (alpha, or of a palette): over white.
    - Grey of 16 bits: the high byte of each pixel, which is what Pillow keeps of colours of 16 bits.
    - Palette, CMYK, grey, black and white: as Pillow converts them. Of an animation the first frame.
    - Arrays and tensors: (H, W), (H, W, C) or (C, H, W) with C = 1, 3 or 4; whole numbers 0 to 255, 16 bits as
      uint16, bool, or fractions in [0, 1].

    Args:
        picture: a path, a file's bytes, `{"path": ..., "bytes": ...}` as `datasets.Image(decode=False)` gives it, an
            array, a tensor, or a PIL image.

    Raises:
        ValueError: no such file, a file that is damaged or no image, or numbers that are no pixels.
    """
    if isinstance(picture, (np.ndarray, torch.Tensor)):
        image = _from_array(picture)
    elif isinstance(picture, Image.Image):
        image = picture
    else:
        image = _from_file(picture)
    try:
        image.load()
        if image.getexif().get(ExifTags.Base.Orientation) is not None:
            image = ImageOps.exif_transpose(image)
    except UNREADABLE as error:
        raise ValueError(f"The image cannot be read: {error} Give another, or save it anew.") from error
    return _rgb(image)


def _from_file(picture: Any) -> Image.Image:
    if isinstance(picture, Mapping):
        picture = picture["path"] if picture.get("bytes") is None else picture["bytes"]
    if isinstance(picture, (str, Path)) and not Path(picture).is_file():
        raise ValueError(f"There is no image file {picture}. Give the path of one.")
    if not isinstance(picture, (str, Path, bytes)):
        raise ValueError(
            f"{type(picture).__name__} is no image; give a path, a file's bytes, an array, a tensor or a PIL image."
        )
    name = "A file's bytes are" if isinstance(picture, bytes) else f"The file {picture} is"
    try:
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        image = Image.open(io.BytesIO(data))
        image.load()
    except UNREADABLE as error:
        raise ValueError(f"{name} no image that can be read: {error} Give a whole PNG, JPEG or the like.") from error
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "I" and 0 <= values.min() <= values.max() < 2**16:
            values = values.astype(np.uint16)  # a file of 16 bits, as Pillow before 11.3 reads it
        return _from_array(values).convert("RGB")
    if image.mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    if {"A", "a"} & set(image.getbands()) or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_array(values: np.ndarray | torch.Tensor) -> Image.Image:
    first = isinstance(values, torch.Tensor)  # where torch has the channels, and numpy has not
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    if array.ndim == 3:
        axis = next((axis for axis in ((0, 2) if first else (2, 0)) if array.shape[axis] in CHANNELS), None)
        array = array if axis is None else np.moveaxis(array, axis, -1)
    if array.ndim not in (2, 3) or not array.size or (array.ndim == 3 and array.shape[-1] not in CHANNELS):
        raise ValueError(
            f"An array of the shape {tuple(values.shape)} is no image; give (H, W), (H, W, C) or (C, H, W) with "
            "1, 3 or 4 channels."
        )
    array = _bytes(array)
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else np.ascontiguousarray(array))


def _bytes(array: np.ndarray) -> np.ndarray:
    """Numbers as uint8."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either order of bytes
        return (array >> 8).astype(np.uint8)
    if array.dtype == bool:
        return array * np.uint8(255)
    low, high = array.min(), array.max()
    if array.dtype.kind in "iu" and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(array * 255).astype(np.uint8)
    raise ValueError(
        f"An array of {array.dtype} from {low} to {high} is no image; give whole numbers 0 to 255, uint16, or "
        "fractions in [0, 1]."
    )
