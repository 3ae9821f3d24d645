"""Tiny backbones with random weights, saved as folders: real classes, real processors, milliseconds."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import random

import pytest
import torch
from datasets import Dataset
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    ViltConfig,
    ViltModel,
    ViltProcessor,
)
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

from atlas_hf import AtlasConfig, AtlasModel, TaskSpec

torch.set_num_threads(1)

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c d e f g h an image red blue is it ?".split()
DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def make_tokenizer():
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))],
    )
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=24,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in special.items()},
    )


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(WORDS), initializer_range=0.1, **SIZE, **DROPOUT)).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vilt_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vilt")
    torch.manual_seed(0)
    config = ViltConfig(
        vocab_size=len(WORDS), image_size=16, patch_size=8, max_position_embeddings=24, initializer_range=0.1, **SIZE
    )
    ViltModel(config).save_pretrained(folder)
    images = ViltImageProcessorPil(size={"shortest_edge": 16}, size_divisor=8)
    ViltProcessor(images, make_tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture
def bert(bert_folder):
    torch.manual_seed(0)
    return AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))


@pytest.fixture
def vilt(vilt_folder):
    torch.manual_seed(0)
    return AtlasModel.from_pretrained(vilt_folder, config=AtlasConfig(r=4))


def text_spec(name, **changes):
    values = {"text_columns": ["text"], "label_names": ["no", "yes"], "random_baseline": 0.5}
    return TaskSpec(name, "single_label_classification", **(values | changes))


def text_data(letter, count=96, seed=0):
    """Does a letter occur in the text?"""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices("abcdefgh", k=rng.randint(2, 6))) for _ in range(count)]
    return Dataset.from_dict({"text": texts, "label": [int(letter in text) for text in texts]})


def splits(letter, train=64, test=32):
    return {
        name: text_data(letter, count, seed)
        for seed, (name, count) in enumerate({"train": train, "validation": test, "test": test}.items())
    }


def picture(colour="red", size=(16, 16)):
    return Image.new("RGB", size, colour)


def randomize(model, task, seed=0):
    """Give a task's adapter weights that are not zero, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if f".atlas_up.{task}." in name:
            parameter.data.normal_(0, 0.2, generator=generator)
