"""A tiny random model of every known architecture, as a folder with its real processor, and tasks for it."""

import random
from dataclasses import dataclass

import numpy as np
import torch
import transformers as tf
from datasets import Dataset
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from shared.tiny import WORDS, make_tokenizer, text_spec

DROP = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SIZE = {**SIZE, "initializer_range": 0.3}
TEXT = {**SIZE, "vocab_size": len(WORDS), "max_position_embeddings": 24, "pad_token_id": 0, "eos_token_id": 3}
VISION = {**SIZE, "image_size": 32, "patch_size": 8}
SQUARE = {"size": {"height": 32, "width": 32}}
CROP = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
DENSE = ("encoder.layer.{}.attention.output.dense", "encoder.layer.{}.output.dense")
PIXELS = ("pixel_values",)
WORD_TYPES = ("input_ids", "token_type_ids", "attention_mask")
PLAIN = ("input_ids", "attention_mask")
RATE, RATES = 800, {"sampling_rate": 800, "hop_length": 8, "n_fft": 20, "chunk_length": 1, "feature_size": 8}


def towers(*paths):
    return tuple(f"{tower}_model.{path}" for tower in ("text", "vision") for path in paths)


@dataclass(frozen=True)
class Architecture:
    """`sites`: paths in the backbone, `{}` for each layer. `pooled`: the width of what the heads get."""

    config: tf.PreTrainedConfig
    processor: object
    sites: tuple[str, ...]
    pooled: int = 16
    text: bool = True
    image: bool = False
    audio: bool = False
    layers: int = 2


def tokenizer(names=PLAIN, **changes):
    made = make_tokenizer()
    made.model_input_names = list(names)
    return made


def text_architectures():
    relative = {"relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 8, "share_att_key": True}
    distil = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": len(WORDS)}
    return {
        "bert": Architecture(tf.BertConfig(**TEXT), tokenizer(WORD_TYPES), DENSE),
        "roberta": Architecture(tf.RobertaConfig(**TEXT | {"max_position_embeddings": 30}), tokenizer(), DENSE),
        "distilbert": Architecture(
            tf.DistilBertConfig(**distil, max_position_embeddings=24, initializer_range=0.3),
            tokenizer(),
            ("transformer.layer.{}.attention.out_lin", "transformer.layer.{}.ffn.lin2"),
        ),
        "deberta-v2": Architecture(
            tf.DebertaV2Config(**TEXT, **relative, norm_rel_ebd="layer_norm", type_vocab_size=0),
            tokenizer(WORD_TYPES),
            DENSE,
        ),
    }


def image_architectures():
    single = {"text": False, "image": True}
    stages = {"embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "patch_size": 4}
    blocks = [f"encoder.layers.{stage}.blocks.{i}." for stage in range(2) for i in range(2)]
    return {
        "vit": Architecture(
            tf.ViTConfig(**VISION),
            ViTImageProcessorPil(**SQUARE),
            ("layers.{}.attention.o_proj", "layers.{}.mlp.fc2"),
            **single,
        ),
        "dinov2": Architecture(
            tf.Dinov2Config(**VISION, mlp_ratio=2),
            BitImageProcessorPil(**CROP),
            ("encoder.layer.{}.attention.o_proj", "encoder.layer.{}.mlp.fc2"),
            **single,
        ),
        # 16 x 16 patches in windows of 4 x 4, shifted in every second block; half as many in the second stage.
        "swin": Architecture(
            tf.SwinConfig(**stages, image_size=64, initializer_range=0.3),
            ViTImageProcessorPil(size={"height": 64, "width": 64}),
            tuple(path + end for path in blocks for end in ("attention.o_proj", "mlp.fc2")),
            layers=1,
            **single,
        ),
    }


def joint_architectures():
    joint = {"image": True}
    convolutions = {"in_channels": [32, 16], "out_channels": [16, 24], "kernel_sizes": [3, 3], "strides": [1, 2]}
    convolutions |= {"num_block_repeats": [1, 1], "expand_ratios": [1, 2], "hidden_dim": 16}
    convolutions |= {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 1.0}
    small_text = TEXT | {"hidden_size": 12, "num_attention_heads": 3}  # as in CLIP: other heads than the other tower
    layers = ("encoder.layers.{}.self_attn.out_proj", "encoder.layers.{}.mlp.fc2")
    return {
        "vilt": Architecture(
            tf.ViltConfig(**TEXT, image_size=32, patch_size=8),
            tf.ViltProcessor(ViltImageProcessorPil(size={"shortest_edge": 32}, size_divisor=8), tokenizer(WORD_TYPES)),
            DENSE,
            **joint,
        ),
        "clip": Architecture(
            tf.CLIPConfig(text_config=small_text, vision_config=VISION, projection_dim=10),
            tf.CLIPProcessor(CLIPImageProcessorPil(**CROP), tokenizer()),
            towers(*layers),
            pooled=20,
            **joint,
        ),
        "siglip": Architecture(
            tf.SiglipConfig(text_config=TEXT | {"projection_size": 16}, vision_config=VISION),
            tf.SiglipProcessor(SiglipImageProcessorPil(**SQUARE), tokenizer(("input_ids",))),
            towers(*layers),
            pooled=32,
            **joint,
        ),
        "blip": Architecture(
            tf.BlipConfig(
                text_config=TEXT | {"encoder_hidden_size": 16, "projection_dim": 10},
                vision_config=VISION,
                projection_dim=10,
            ),
            tf.BlipProcessor(BlipImageProcessorPil(**SQUARE), tokenizer()),
            (
                *(f"text_model.{path}" for path in DENSE),
                "vision_model.encoder.layers.{}.self_attn.projection",
                "vision_model.encoder.layers.{}.mlp.fc2",
            ),
            pooled=20,
            **joint,
        ),
        "align": Architecture(
            tf.AlignConfig(text_config=TEXT, vision_config=convolutions, projection_dim=8),
            tf.AlignProcessor(EfficientNetImageProcessorPil(**SQUARE), tokenizer(WORD_TYPES)),
            tuple(f"text_model.{path}" for path in DENSE),
            pooled=16,
            **joint,
        ),
        "flava": Architecture(
            tf.FlavaConfig(text_config=TEXT, image_config=VISION, multimodal_config=SIZE, projection_dim=10),
            tf.FlavaProcessor(FlavaImageProcessorPil(**CROP | SQUARE), tokenizer(WORD_TYPES)),
            tuple(f"{part}_model.{path}" for part in ("text", "image", "multimodal") for path in DENSE),
            **joint,
        ),
    }


def audio_architectures():
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in
             (("layers", 2), ("attention_heads", 2), ("ffn_dim", 24))}  # fmt: skip
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    audio = {"num_mel_bins": 8, "max_source_positions": 50}
    config = tf.WhisperConfig(d_model=16, vocab_size=30, init_std=0.3, **audio, **sides, **ids)
    return {
        "whisper": Architecture(
            config,
            tf.WhisperFeatureExtractor(**RATES),
            ("layers.{}.self_attn.out_proj", "layers.{}.fc2"),
            text=False,
            audio=True,
        )
    }


ARCHITECTURES = {**text_architectures(), **image_architectures(), **joint_architectures(), **audio_architectures()}


def save_backbone(name, folder, config=None):
    torch.manual_seed(0)
    tf.AutoModel.from_config(config or ARCHITECTURES[name].config).save_pretrained(folder)
    ARCHITECTURES[name].processor.save_pretrained(folder)
    return folder


def task_spec(name, kind):
    """A task that gives the architecture `kind` what it takes."""
    architecture = ARCHITECTURES[kind]
    inputs = {"text_columns": ["text"] if architecture.text else []}
    inputs["image_columns"] = ["image"] if architecture.image else []
    return text_spec(name, **inputs, audio_column="sound" if architecture.audio else None)


def examples(count=6):
    """Rows of every kind of input: texts of 1 to 6 words, images of several sizes, sounds of several lengths."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    rows = []
    for i in range(count):
        size = rng.choice([(32, 32), (48, 32), (32, 56)])
        pixels = noise.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        sound = {"array": noise.normal(size=200 + 80 * i).tolist(), "sampling_rate": RATE}
        text = " ".join(rng.choices("abcdefgh", k=1 + i % 6))
        rows.append({"text": text, "image": Image.fromarray(pixels), "sound": sound, "label": i % 2})
    return Dataset.from_list(rows)
