"""Tiny backbones with random weights, saved as folders: real classes, real processors, milliseconds."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gc
import shutil

import pytest
import torch
from transformers import BertConfig, BertModel, ViltConfig, ViltModel, ViltProcessor
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

from atlas_hf import AtlasConfig, AtlasModel
from shared.demo_server import served  # noqa: F401 (a fixture)
from shared.tiny import DROPOUT, SIZE, WORDS, make_tokenizer, three_tasks

torch.set_num_threads(1)


def pytest_collection_finish():
    """Trainer collects garbage after every training: not again through all that was imported."""
    gc.freeze()


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


@pytest.fixture(scope="session")
def saved_once(bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    three_tasks(bert_folder).save_pretrained(folder)
    return folder


@pytest.fixture
def saved(saved_once, tmp_path):
    """A folder of three tasks that a test may spoil."""
    return shutil.copytree(saved_once, tmp_path / "saved")
