"""Pretrain the backbone of the digits stream: a small ViLT, from scratch, on the training split's handwriting only.

    python -m atlas_hf.streams.digits.pretraining --output atlas_hf/streams/digits/digits_vilt --steps 4500 --seed 0

The texts are captions with masked words, and attribute questions whose answer is read from the pooled output.
`pretraining_texts` writes them, other sentences than those of the tasks; `pretraining_model` is what learns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import ViltConfig, ViltModel, ViltProcessor

from atlas_hf.streams.digits.pretraining_model import (
    CELL_LABELS,
    NOT_ASKED,
    PAD,
    Pretraining,
    build_processor,
    normalise,
    run_model,
)
from atlas_hf.streams.digits.pretraining_texts import Sample, random_scenes, write_sample
from atlas_hf.streams.digits.scenes import DIGITS, EMPTY, handwriting, write_scenes

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def make_batches(size: int, split: str, random: Random, rng: np.random.Generator) -> list[Batch]:
    """`size` samples as two batches, the shorter texts and the longer ones, so that less of them is padding.

    Returns:
        The arguments of `Pretraining.forward`.
    """
    digits, colours = random_scenes(size, rng)
    samples = [write_sample(*scene, random) for scene in zip(digits.tolist(), colours.tolist(), strict=True)]
    pixels = write_scenes(digits, colours, handwriting(split), rng)
    cells = cell_labels(digits, colours)
    text_only = [sample.text_only for sample in samples]
    pixels[text_only], cells[text_only] = 127, NOT_ASKED
    values, order = normalise(pixels), sorted(range(size), key=lambda row: len(samples[row].ids))
    halves = (order[: size // 2], order[size // 2 :])
    return [_batch([samples[row] for row in rows], values[rows], torch.from_numpy(cells[rows])) for rows in halves]


def cell_labels(digits: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(n, 4, 2): index in `CELL_LABELS` of each cell's digit (or nothing, or card) and colour (if a digit shows)."""
    shown = digits >= 0
    first = np.where(shown, digits, np.where(digits == EMPTY, len(CELL_LABELS) - 2, len(CELL_LABELS) - 1))
    return np.stack([first, np.where(shown, len(DIGITS) + colours, NOT_ASKED)], axis=-1)


def _batch(samples: Sequence[Sample], pixel_values: Tensor, cells: Tensor) -> Batch:
    answers = torch.tensor([NOT_ASKED if sample.answer is None else sample.answer for sample in samples])
    masked = _pad([sample.masked for sample in samples], NOT_ASKED)
    return _pad([sample.ids for sample in samples], 0), pixel_values, masked, answers, cells


def _pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    length = max(map(len, rows))
    return torch.tensor([list(row) + [value] * (length - len(row)) for row in rows])


@torch.no_grad()
def check_shortcuts(model: ViltModel, processor: ViltProcessor, batch: Batch) -> None:
    """Hold that what pretraining computes is what the processor and the whole model compute.

    Raises:
        AssertionError: if not.
    """
    pixels = write_scenes(*random_scenes(4, np.random.default_rng(0)), handwriting("train"), np.random.default_rng(0))
    values = processor.image_processor(list(pixels), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(values.float(), normalise(pixels), atol=1e-5, rtol=0)
    input_ids, pixel_values = batch[0][:4], batch[1][:4]
    mask = input_ids.ne(PAD).long()
    whole = model(input_ids=input_ids, attention_mask=mask, pixel_values=pixel_values)
    short = run_model(model, input_ids, pixel_values)
    torch.testing.assert_close(short.pooler_output, whole.pooler_output, atol=1e-4, rtol=1e-3)


def pretrain(
    steps: int, minutes: float, batch_size: int, learning_rate: float, seed: int
) -> tuple[Pretraining, ViltProcessor]:
    """Train for `steps`, or for as long as `minutes` allow when `steps` is 0; the learning rate falls as a cosine."""
    torch.manual_seed(seed)
    random, rng = Random(seed), np.random.default_rng(seed)
    model, processor = Pretraining(), build_processor()
    check_shortcuts(model.backbone, processor, make_batches(8, "train", random, rng)[1])
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    progress, start = tqdm(total=steps or None, mininterval=5), time.monotonic()
    step, done = 0, 0.0
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 300) * (0.5 + 0.5 * np.cos(np.pi * done))
        optimizer.zero_grad()
        results = [model(*batch) for batch in make_batches(batch_size, "train", random, rng)]
        (sum(result["loss"] for result in results) / batch_size).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        done = step / steps if steps else (time.monotonic() - start) / (60 * minutes)
        progress.update()
        if step % 100 == 0:
            progress.set_postfix(_accuracies(results))
    progress.close()
    return model, processor


@torch.no_grad()
def evaluate(model: Pretraining, split: str) -> dict[str, float]:
    """Accuracy of both heads on scenes in the handwriting of `split`."""
    random, rng = Random(1), np.random.default_rng(1)
    return _accuracies([model(*batch) for _ in range(8) for batch in make_batches(256, split, random, rng)])


def _accuracies(results: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    joined = {name: torch.cat([result[name] for result in results]) for name in ("words", "answers")}
    return {name: round(values.mean().item(), 3) for name, values in joined.items()}


def save(backbone: ViltModel, processor: ViltProcessor, output: Path) -> None:
    """Write half-precision weights that load as float32, which is what a CPU computes well with."""
    backbone.half().save_pretrained(output)
    config = ViltConfig.from_pretrained(output)
    config.dtype = "float32"
    config.save_pretrained(output)
    processor.save_pretrained(output)


def main() -> None:
    """Pretrain as the command line says, print both accuracies, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=0, help="0: as many as --minutes allow")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model, processor = pretrain(args.steps, args.minutes, args.batch_size, args.learning_rate, args.seed)
    for split in ("train", "validation"):
        print(split, evaluate(model, split))
    save(model.backbone, processor, args.output)


if __name__ == "__main__":
    main()
