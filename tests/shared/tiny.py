"""Tiny backbones, tasks and data, for models with random weights that learn in a second."""

import random

import torch
from datasets import Dataset
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainingArguments, TaskSpec

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a b c d e f g h an image red blue is it ?".split()
DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
CHOICE = {"problem_type": "multiple_choice", "label_names": None, "choices_column": "choices", "num_choices": 3}
PAIR = {"problem_type": "image_pair", "image_columns": ["left", "right"]}
SOFT = {"problem_type": "multi_label_classification", "label_names": ["a", "b", "c"], "score_column": "scores"}
NUMBER = {"problem_type": "regression", "label_names": None}


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
    """Arguments of a training that takes a second or two, and goes through both stages whatever comes of them."""
    values = {"recipe": "paper", "num_train_epochs": 2, "per_device_train_batch_size": 16, "report_to": "none"}
    return AtlasTrainingArguments(str(output_dir), **values | {"disable_tqdm": True, "use_cpu": True} | changes)


def picture(colour="red", size=(16, 16)):
    return Image.new("RGB", size, colour)


def randomize(model, task, seed=0):
    """Give a task's adapter weights that are not zero, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if f".atlas_up.{task}." in name:
            parameter.data.normal_(0, 0.2, generator=generator)


def three_tasks(folder):
    """Two learned tasks and one that is in the middle of its second stage."""
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(folder, config=AtlasConfig(r=4))
    for name, kind in (("one", {}), ("two", CHOICE), ("three", PAIR)):
        model.add_task(text_spec(name, **({} if kind is PAIR and "vilt" not in str(folder) else kind)))
        randomize(model, name)
        model.set_stage(name, "expansion" if name == "three" else "complete")
    return model


def learned(folder, names=("one", "two", "three"), **config):
    """Tasks as after training, the later ones on top of the earlier, with bottlenecks of different widths."""
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(folder, config=AtlasConfig(**({"r": 4} | config)))
    for i, name in enumerate(names):
        model.add_task(text_spec(name), r=3 + i)
        randomize(model, name, seed=i)
        model.set_stage(name, "complete")
    return model.eval()
