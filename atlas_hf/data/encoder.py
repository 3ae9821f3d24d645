"""Texts, images and sounds to the inputs of a backbone."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from atlas_hf.data.pixels import pixels
from atlas_hf.tasks import TaskSpec

NEUTRAL_SENTENCE = "an image"
NEUTRAL_COLOUR = (128, 128, 128)


@dataclass
class Encoder:
    """What makes a backbone's inputs, with any processor or part of one.

    Args:
        processor: a transformers processor (tokenizer and image processor), one of the two, or a feature extractor.
        max_length: tokens after which a text is cut.
        fixed_length: fill every text up to `max_length`, for backbones that read a text's last token, padding or not.
    """

    processor: Any
    max_length: int | None = None
    fixed_length: bool = False

    @property
    def feature_extractor(self) -> Any:
        """What turns sounds into inputs; None if the processor takes none."""
        single = self.processor if hasattr(self.processor, "sampling_rate") else None
        return getattr(self.processor, "feature_extractor", single)

    @property
    def tokenizer(self) -> Any:
        """What turns texts into inputs; None if the processor takes none."""
        if self.feature_extractor is not None:  # a speech processor's tokenizer is that of the decoder
            return None
        return getattr(self.processor, "tokenizer", self.processor if hasattr(self.processor, "vocab_size") else None)

    @cached_property
    def uncut(self) -> Any:
        """A tokenizer of its own, to ask what a whole text is made of.

        A fast tokenizer keeps the length to cut at as a setting: a call without one, in another thread, would have
        `encode_texts` leave its texts uncut.
        """
        return deepcopy(self.tokenizer)

    @property
    def image_processor(self) -> Any:
        """What turns images into inputs; None if the processor takes none."""
        single = self.processor if hasattr(self.processor, "image_mean") else None
        return getattr(self.processor, "image_processor", single)

    def encode_texts(self, texts: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """N texts of one or more parts -> input_ids, attention_mask ..., each (N, L).

        From the second part on, a text is the second segment of a pair, as the tokenizer marks it.
        """
        limit = {"truncation": True, "max_length": self.max_length} if self.max_length else {"truncation": True}
        segments = [[parts[0] for parts in texts]]
        if any(len(parts) > 1 for parts in texts):
            segments.append([f" {self.tokenizer.sep_token or ''} ".join(parts[1:]) for parts in texts])
        padding = "max_length" if self.fixed_length else True
        # Padded at the end, whatever side the tokenizer was told: a head may read the first token.
        return dict(self.tokenizer(*segments, padding=padding, padding_side="right", return_tensors="pt", **limit))

    def encode_images(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """N images -> pixel_values (N, 3, H, W) ...; images of several sizes are padded if the processor does that."""
        try:
            return dict(self.image_processor([pixels(image) for image in images], return_tensors="pt"))
        except ValueError as error:
            sizes = sorted({image.size for image in images})
            raise ValueError(
                f"The images of a batch, of sizes {sizes[:5]}, do not fit into one tensor: {error} Use an image "
                "processor that resizes or pads, or give images of one size."
            ) from error

    def encode_audio(self, sounds: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """N sounds -> input_features (N, bins, frames) ...; raises a `ValueError` for another sampling rate."""
        rates = {sound["sampling_rate"] for sound in sounds}
        if rates != {self.feature_extractor.sampling_rate}:
            raise ValueError(
                f"The sounds of a batch have the sampling rates {sorted(rates)}; the backbone takes "
                f"{self.feature_extractor.sampling_rate}. Cast the column: dataset.cast_column(column, "
                "Audio(sampling_rate=...))."
            )
        arrays = [np.asarray(sound["array"], dtype=np.float32) for sound in sounds]
        return dict(self.feature_extractor(arrays, sampling_rate=rates.pop(), return_tensors="pt"))

    @cached_property
    def neutral_image(self) -> dict[str, Tensor]:
        """One grey image of the processor's own size, for tasks without images: (1, 3, H, W)."""
        size = dict(self.image_processor.size)
        edge = size.get("height") or size.get("shortest_edge") or 224
        return self.encode_images([Image.new("RGB", (size.get("width") or edge, edge), NEUTRAL_COLOUR)])

    @cached_property
    def neutral_text(self) -> dict[str, Tensor]:
        """One fixed sentence, for tasks without text: (1, L)."""
        return self.encode_texts([[NEUTRAL_SENTENCE]])

    def check(self, spec: TaskSpec) -> None:
        """Raise a `ValueError` if the backbone cannot take what the task gives."""
        parts = {"text": self.tokenizer, "images": self.image_processor, "audio": self.feature_extractor}
        takes = [name for name, part in parts.items() if part is not None]
        given = {"text": spec.text_columns or spec.choices_column, "images": spec.image_columns}
        for name, columns in (given | {"audio": spec.audio_column}).items():
            if columns and name not in takes:
                raise ValueError(
                    f"Task '{spec.name}' has {name}, but the backbone's processor takes {' and '.join(takes)} only."
                )
        if self.tokenizer is not None and self.tokenizer.pad_token is None:
            raise ValueError(
                "The tokenizer has no padding token, so that texts of several lengths make no batch. Give it one: "
                "tokenizer.pad_token = tokenizer.eos_token, or tokenizer.unk_token."
            )
