"""Pretrain the backbone of the digits stream: a small ViLT, from scratch, on the training split's handwriting only.

    python -m atlas_hf.streams.digits.pretraining --output atlas_hf/streams/digits/digits_vilt --steps 4500 --seed 0

The texts are captions with masked words, and attribute questions whose answer is read from the pooled output;
`pretraining_texts` writes them, other sentences than those of the tasks.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import ViltConfig, ViltModel, ViltProcessor

from atlas_hf.streams.digits.pretraining_texts import (
    ANSWERS,
    MAX_TEXT,
    PAD,
    VOCABULARY,
    Sample,
    build_processor,
    random_scenes,
    write_sample,
)
from atlas_hf.streams.digits.scenes import COLOURS, DIGITS, EMPTY, IMAGE_SIZE, handwriting, write_scenes

CELL_LABELS = DIGITS + COLOURS + ("nothing", "card")
NOT_ASKED = -100
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def build_model() -> ViltModel:
    """A ViLT of 4 layers and width 128 with random weights."""
    config = ViltConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=MAX_TEXT,
        image_size=IMAGE_SIZE,
        patch_size=16,  # one patch per cell
        initializer_range=0.08,  # at this width the usual 0.02 does not start to learn
        pad_token_id=PAD,
    )
    return ViltModel(config)


def normalise(pixels: np.ndarray) -> Tensor:
    """(n, 32, 32, 3) uint8 as the (n, 3, 32, 32) float32 that the image processor gives."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def run_model(model: ViltModel, input_ids: Tensor, pixel_values: Tensor) -> Any:
    """What `model` gives for ids (n, L), padded by id, and full images (n, 3, 32, 32) float32, hidden states too.

    Quicker, without the loops over images in `ViltEmbeddings.visual_embed`.
    """
    parts = model.embeddings
    patches = parts.patch_embeddings.projection(pixel_values).flatten(2).transpose(1, 2)
    first = parts.cls_token.expand(len(patches), -1, -1)
    image_embeds = torch.cat([first, patches], dim=1) + parts.position_embeddings
    return model(
        input_ids=input_ids,
        attention_mask=input_ids.ne(PAD).long(),
        image_embeds=image_embeds,
        pixel_mask=torch.ones(image_embeds.shape[:2], dtype=torch.long),
        output_hidden_states=True,
    )


class Pretraining(nn.Module):
    """The backbone with the three heads that only pretraining uses.

    Masked words; answers from the pooled output; and, half way up, what each patch shows. The last is what makes
    the handwriting readable within minutes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = build_model()
        width = self.backbone.config.hidden_size
        self.words = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.word_bias = nn.Parameter(torch.zeros(len(VOCABULARY)))
        self.answers = nn.Linear(width, len(ANSWERS))
        self.cells = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(CELL_LABELS)))

    def forward(
        self, input_ids: Tensor, pixel_values: Tensor, masked: Tensor, answers: Tensor, cells: Tensor
    ) -> dict[str, Tensor]:
        """Summed loss, and which predictions were right.

        Args:
            input_ids: (n, L); pixel_values: (n, 3, 32, 32).
            masked: (n, L) word id, answers: (n,) index of `ANSWERS`, cells: (n, 4, 2) index of `CELL_LABELS` of the
                digit and the colour; `NOT_ASKED` where nothing is asked.
        """
        output = run_model(self.backbone, input_ids, pixel_values)
        states = output.last_hidden_state[:, : input_ids.shape[1]][masked != NOT_ASKED]
        embedding = self.backbone.get_input_embeddings().weight
        words = self.words(states) @ embedding.T + self.word_bias
        half_way = output.hidden_states[self.backbone.config.num_hidden_layers // 2]
        scores = self.cells(half_way[:, -cells.shape[1] :])
        choices = self.answers(output.pooler_output[answers != NOT_ASKED])
        asked_words, asked_answers = masked[masked != NOT_ASKED], answers[answers != NOT_ASKED]
        cross_entropy = partial(nn.functional.cross_entropy, reduction="sum")
        return {
            "loss": cross_entropy(words, asked_words)
            + cross_entropy(choices, asked_answers)
            + sum(0.25 * cross_entropy(scores.flatten(0, 1), cells[..., part].flatten()) for part in (0, 1)),
            "words": (words.argmax(-1) == asked_words).float(),
            "answers": (choices.argmax(-1) == asked_answers).float(),
        }


def make_batches(size: int, split: str, random: Random, rng: np.random.Generator) -> list[Batch]:
    """`size` samples as two batches for `Pretraining.forward`, shorter texts and longer ones, so as to pad less."""
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
    return _pad([sample.ids for sample in samples], PAD), pixel_values, masked, answers, cells


def _pad(rows: Sequence[list[int]], value: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


@torch.no_grad()
def check_shortcuts(model: ViltModel, processor: ViltProcessor, batch: Batch) -> None:
    """Raise an `AssertionError` unless pretraining computes what the processor and the whole model compute."""
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
