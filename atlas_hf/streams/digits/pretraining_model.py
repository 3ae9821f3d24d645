"""The backbone of the digits stream before it has learned anything, its processor, and its heads."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, ViltConfig, ViltImageProcessorPil, ViltModel, ViltProcessor

from atlas_hf.streams.digits.pretraining_texts import ANSWERS, VOCABULARY
from atlas_hf.streams.digits.scenes import COLOURS, DIGITS, IMAGE_SIZE

CELL_LABELS = DIGITS + COLOURS + ("nothing", "card")
NOT_ASKED = -100
MAX_TEXT = 40
PAD = VOCABULARY.index("[PAD]")


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


def run_model(model: ViltModel, input_ids: Tensor, pixel_values: Tensor, token_type_ids: Tensor | None = None) -> Any:
    """What `model` gives for full 32 x 32 images, hidden states too, but quicker.

    It does without the loops over images in `ViltEmbeddings.visual_embed`.

    Args:
        input_ids: (n, L) int64; padding is recognised by its id.
        pixel_values: (n, 3, 32, 32) float32
    """
    parts = model.embeddings
    patches = parts.patch_embeddings.projection(pixel_values).flatten(2).transpose(1, 2)
    first = parts.cls_token.expand(len(patches), -1, -1)
    image_embeds = torch.cat([first, patches], dim=1) + parts.position_embeddings
    return model(
        input_ids=input_ids,
        token_type_ids=token_type_ids,
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
