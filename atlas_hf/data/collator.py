"""From rows of a data set to one batch of the backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atlas_hf.tasks import TaskSpec

NEUTRAL_SENTENCE = "an image"
NEUTRAL_COLOUR = (128, 128, 128)


@dataclass
class Encoder:
    """Texts, images and sounds to the backbone's inputs, with any processor or part of one.

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
        single = self.processor if hasattr(self.processor, "sampling_rate") else None
        return getattr(self.processor, "feature_extractor", single)

    @property
    def tokenizer(self) -> Any:
        if self.feature_extractor is not None:  # a speech processor's tokenizer is that of the decoder
            return None
        return getattr(self.processor, "tokenizer", self.processor if hasattr(self.processor, "vocab_size") else None)

    @property
    def image_processor(self) -> Any:
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
        return dict(self.tokenizer(*segments, padding=padding, return_tensors="pt", **limit))

    def encode_images(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        """N images -> pixel_values (N, 3, H, W) ...; images of several sizes are padded if the processor does that."""
        try:
            return dict(self.image_processor([image.convert("RGB") for image in images], return_tensors="pt"))
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


@dataclass
class AtlasCollator:
    """Rows of a task's data set -> a batch for `AtlasModel.forward`.

    An example's choices and images are flattened into the batch, so that five choices are one forward pass. An image
    or text that several rows of the backbone share is encoded once.

    Returns a dict: input_ids (B x rows, L), attention_mask, pixel_values (B x rows, 3, H, W) ..., labels.
    """

    spec: TaskSpec
    encoder: Encoder
    columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.encoder.check(self.spec)
        self.columns = self.spec.input_columns

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        batch = self.inputs(rows)
        if self.spec.label_column in rows[0]:
            batch["labels"] = self.labels(rows)
        return batch

    def inputs(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The backbone's inputs, each with B x rows_per_example rows."""
        self._check_columns(rows)
        total = len(rows) * self.spec.rows_per_example
        if self.spec.audio_column:
            return self.encoder.encode_audio([row[self.spec.audio_column] for row in rows])
        batch = {}
        if self.encoder.tokenizer is not None:
            has_text = self.spec.modality != "image"
            encoded = self.encoder.encode_texts(self._texts(rows)) if has_text else self.encoder.neutral_text
            batch.update(_spread(encoded, total))
        if self.encoder.image_processor is not None:
            has_image = bool(self.spec.image_columns)
            encoded = self.encoder.encode_images(self._images(rows)) if has_image else self.encoder.neutral_image
            batch.update(_spread(encoded, total))
        return batch

    def _check_columns(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for i, row in enumerate(rows):
            missing = [column for column in self.columns if column not in row]
            if missing:
                raise ValueError(
                    f"Task '{self.spec.name}': row {i} of the batch has no {missing}; it has {list(row)}. Give every "
                    "input column that the TaskSpec names."
                )

    def _images(self, rows: Sequence[Mapping[str, Any]]) -> list[Image.Image]:
        images = [(i, column, row[column]) for i, row in enumerate(rows) for column in self.spec.image_columns]
        for i, column, image in images:
            if not isinstance(image, Image.Image):
                raise ValueError(
                    f"Task '{self.spec.name}': row {i} of the batch has {type(image).__name__} in the image column "
                    f"'{column}'; give a PIL image (a column with the `datasets.Image` feature)."
                )
        return [image for _, _, image in images]

    def _texts(self, rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
        texts = []
        for i, row in enumerate(rows):
            parts = [row[column] for column in self.spec.text_columns]
            choices = row[self.spec.choices_column] if self.spec.choices_column else []
            self._check_row(i, parts, choices)
            texts.extend([*parts, choice] for choice in choices) if choices else texts.append(parts)
        return texts

    def _check_row(self, i: int, parts: list[Any], choices: Any) -> None:
        where = f"Task '{self.spec.name}': row {i} of the batch has"
        if self.spec.choices_column and (
            not isinstance(choices, (list, tuple)) or len(choices) != self.spec.num_choices
        ):
            count = f"{len(choices)} choices" if isinstance(choices, (list, tuple)) else f"{choices!r} as choices"
            raise ValueError(
                f"{where} {count}; the task has {self.spec.num_choices} in every row. Fill up or drop choices, or "
                "make two tasks of it."
            )
        wrong = [text for text in (*parts, *choices) if not isinstance(text, str)]
        if wrong:
            raise ValueError(f"{where} a text that is not a string: {wrong[0]!r}. Give strings, '' for an empty one.")

    def labels(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """(B,) class ids or numbers, or (B, C) soft scores for multi-label."""
        values = [row[self.spec.label_column] for row in rows]
        given = [row[self.spec.score_column] for row in rows] if self.spec.score_column else None
        self.spec.check_labels(values, given, "the batch")
        if self.spec.problem_type == "regression":
            return torch.tensor(values, dtype=torch.float32)
        if self.spec.problem_type != "multi_label_classification":
            return torch.tensor(values, dtype=torch.long)
        labels = torch.zeros(len(rows), self.spec.num_labels)
        for i, ids in enumerate(values):
            labels[i, ids] = torch.tensor(given[i] if given else [1.0] * len(ids), dtype=torch.float32)
        return labels


def _spread(encoded: Mapping[str, Tensor], total: int) -> dict[str, Tensor]:
    """Repeat each row for the backbone rows that share it: (N, ...) -> (total, ...)."""
    return {name: tensor.repeat_interleave(total // len(tensor), dim=0) for name, tensor in encoded.items()}


def example_rows(
    spec: TaskSpec, images: Any, texts: Any, choices: Any, audio: Any = None
) -> tuple[list[dict[str, Any]], bool]:
    """What a user passes to `predict`, as rows of the task's data set, and whether it was a single example.

    Raises a `ValueError` if an input is missing or too much, or if the numbers of examples differ.
    """
    given = {"images": images, "texts": texts, "choices": choices, "audio": audio}
    wanted = {"images": spec.image_columns, "texts": spec.text_columns, "choices": spec.choices_column}
    wanted["audio"] = spec.audio_column
    wrong = [name for name in given if (given[name] is not None) != bool(wanted[name])]
    if wrong:
        needed = [name for name in wanted if wanted[name]]
        raise ValueError(
            f"Task '{spec.name}' takes {' and '.join(needed)}; given were "
            f"{' and '.join(name for name in given if given[name] is not None) or 'none'}."
        )
    columns, single = {}, True
    if images is not None:
        single = not isinstance(images, list)
        columns.update(_columns(spec, spec.image_columns, images if isinstance(images, list) else [images], _image))
    if texts is not None:
        single = not isinstance(texts, list)
        columns.update(_columns(spec, spec.text_columns, texts if isinstance(texts, list) else [texts]))
    if choices is not None:
        several = isinstance(choices, list) and any(isinstance(row, list) for row in choices)
        single = single and not several
        columns[spec.choices_column] = choices if several else [choices]
    if audio is not None:
        single = not isinstance(audio, list)
        columns[spec.audio_column] = [audio] if single else audio
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) != 1 or not columns:
        raise ValueError(f"Task '{spec.name}': the numbers of examples differ: {counts}. Give as many of each.")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)], single


def _columns(spec: TaskSpec, names: tuple[str, ...], values: list[Any], convert: Any = None) -> dict[str, list[Any]]:
    """Split values that are tuples, one item per column."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    if any(len(row) != len(names) for row in rows):
        raise ValueError(f"Task '{spec.name}' takes {len(names)} item(s) per example, as a tuple: {', '.join(names)}.")
    return {name: [convert(row[i]) if convert else row[i] for row in rows] for i, name in enumerate(names)}


def _image(value: Any) -> Image.Image:
    return Image.open(value) if isinstance(value, (str, Path)) else value
