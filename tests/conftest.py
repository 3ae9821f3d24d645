"""Tiny backbones with random weights, saved as folders: real classes, real processors, milliseconds."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gc
import hashlib
import random
import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from demo_server import served  # noqa: F401 (a fixture)
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

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainingArguments, TaskSpec
from atlas_hf.persistence import tensor_bytes

torch.set_num_threads(1)

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c d e f g h an image red blue is it ?".split()
DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}

CHOICE = {"problem_type": "multiple_choice", "label_names": None, "choices_column": "choices", "num_choices": 3}
PAIR = {"problem_type": "image_pair", "image_columns": ["left", "right"]}


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


def text_spec(name, **changes):
    values = {"problem_type": "single_label_classification", "text_columns": ["text"], "label_names": ["no", "yes"]}
    return TaskSpec(name, **(values | {"random_baseline": 0.5} | changes))


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


def quick(output_dir="unused", **changes):
    """Arguments of a training that takes a second or two."""
    values = {"num_train_epochs": 2, "per_device_train_batch_size": 16, "report_to": "none"}
    return AtlasTrainingArguments(str(output_dir), **values | {"disable_tqdm": True, "use_cpu": True} | changes)


def picture(colour="red", size=(16, 16)):
    return Image.new("RGB", size, colour)


def randomize(model, task, seed=0):
    """Give a task's adapter weights that are not zero, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if f".atlas_up.{task}." in name:
            parameter.data.normal_(0, 0.2, generator=generator)


def seeded(model, task, **inputs):
    """Logits in evaluation mode. ViLT orders its patches at random in any mode, so the seed is set."""
    torch.manual_seed(0)
    model.eval()
    with torch.no_grad():
        return model(task=task, **inputs).logits


def tensor_digests(model):
    """What every parameter and buffer holds, by name, to the bit."""
    return {
        name: (tensor.dtype, hashlib.sha256(tensor_bytes(tensor)).hexdigest())
        for name, tensor in model.state_dict().items()
    }


def file_digests(folder):
    """Every file of a folder, hidden ones too, by its relative path."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def three_tasks(folder):
    """Two learned tasks and one that is in the middle of its second stage."""
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(folder, config=AtlasConfig(r=4))
    for name, kind in (("one", {}), ("two", CHOICE), ("three", PAIR)):
        model.add_task(text_spec(name, **({} if kind is PAIR and "vilt" not in str(folder) else kind)))
        randomize(model, name)
        model.set_stage(name, "expansion" if name == "three" else "complete")
    return model


@pytest.fixture(scope="session")
def saved_once(bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    three_tasks(bert_folder).save_pretrained(folder)
    return folder


@pytest.fixture
def saved(saved_once, tmp_path):
    """A folder of three tasks that a test may spoil."""
    return shutil.copytree(saved_once, tmp_path / "saved")


def state(model):
    """All that an error must leave alone."""
    trains = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return (
        tensor_digests(model),
        str(model),
        model.task,
        model.training,
        trains,
        dict(model.specs),
        dict(model.metrics),
    )


class Unchanged:
    """`with Unchanged(model, folder)`: the same tensors, modules, tasks, stages and files before and after."""

    def __init__(self, model, folder=None):
        self.model, self.folder = model, folder

    def look(self):
        return state(self.model), self.folder and file_digests(self.folder)

    def __enter__(self):
        self.before = self.look()

    def __exit__(self, *error):
        assert self.look() == self.before
