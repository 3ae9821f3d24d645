"""Rows of a data set to batches of the backbone; `batches` is the one loop over them outside of the Trainer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from atlas_hf.data.encoder import Encoder
from atlas_hf.data.faults import image_fault, input_faults
from atlas_hf.data.rows import without_format
from atlas_hf.tasks import TaskSpec, plain


@dataclass
class AtlasCollator:
    """Rows of a task's data set -> a batch for `AtlasModel.forward`.

    An example's choices and images are flattened into the batch, so that five choices are one forward pass. An image
    or text that several rows of the backbone share is encoded once.

    Returns a dict: input_ids (B x rows, L), attention_mask, pixel_values (B x rows, 3, H, W) ..., labels.
    """

    spec: TaskSpec
    encoder: Encoder

    def __post_init__(self) -> None:
        self.encoder.check(self.spec)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch of these rows, with labels if the first of them has one."""
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
            missing = [column for column in self.spec.input_columns if column not in row]
            if missing:
                raise ValueError(
                    f"Task '{self.spec.name}': row {i} of the batch has no {missing}; it has {list(row)}. Give every "
                    "input column that the TaskSpec names."
                )

    def _images(self, rows: Sequence[Mapping[str, Any]]) -> list[Image.Image]:
        images = [(i, column, row[column]) for i, row in enumerate(rows) for column in self.spec.image_columns]
        for i, column, image in images:
            if fault := image_fault(image, column):
                raise ValueError(f"Task '{self.spec.name}': row {i} of the batch {fault}")
        return [image for _, _, image in images]

    def _texts(self, rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
        texts: list[list[str]] = []
        for i, row in enumerate(rows):
            for fault in input_faults(self.spec, row):
                raise ValueError(f"Task '{self.spec.name}': row {i} of the batch {fault}")
            parts = [row[column] for column in self.spec.text_columns]
            choices = row[self.spec.choices_column] if self.spec.choices_column else []
            texts.extend([*parts, choice] for choice in choices) if choices else texts.append(parts)
        return texts

    def labels(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """(B,) class ids or numbers, or (B, C) soft scores for multi-label."""
        values = [plain(row[self.spec.label_column]) for row in rows]
        given = [plain(row[self.spec.score_column]) for row in rows] if self.spec.score_column else None
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


def batches(
    rows: Sequence[Mapping[str, Any]],
    collate: Callable[[list[Mapping[str, Any]]], Mapping[str, Tensor]],
    batch_size: int,
    device: torch.device,
) -> Iterator[dict[str, Tensor]]:
    """The rows as batches, in their order, on the device; the last one may be smaller.

    Args:
        rows: a `datasets.Dataset`, or a list of rows.
        collate: what makes a batch of rows: an `AtlasCollator`, or its `inputs` for a batch without labels.
    """
    # A loader draws a seed for its workers when it starts, workers or none. Drawn from the global generator, it would
    # change what the backbone draws next.
    loader: DataLoader = DataLoader(
        without_format(rows),  # anything with a length and rows by number will do
        batch_size=batch_size,
        collate_fn=collate,
        generator=torch.Generator(),
    )
    for batch in loader:
        yield {name: tensor.to(device) for name, tensor in batch.items()}
