"""A task of every kind, as learned: the tensors that a stage trains have moved, and no others."""

import torch

from shared.comparing import seeded
from shared.tiny import CHOICE, PAIR, picture, text_spec

KINDS = {
    "words": {},
    "soft": {"problem_type": "multi_label_classification", "label_names": ["a", "b", "c"]},
    "choice": CHOICE | {"image_columns": ["image"]},
    "pair": PAIR,
    "number": {"problem_type": "regression", "label_names": None},
    "picture": {"image_columns": ["image"], "text_columns": []},
}
RED, BLUE = picture("red"), picture("blue")
ROW = {"text": "a b", "choices": list("abc"), "image": RED, "left": RED, "right": BLUE}
ROWS = [ROW, ROW | {"text": "c d e", "image": BLUE, "left": BLUE}]


def batch(model, task):
    return model.collator(task).inputs(ROWS)


def all_logits(model):
    return {task: seeded(model, task, **batch(model, task)) for task in model.tasks}


def unwrapped(digests):
    """By the names that the backbone's tensors have before and after they are wrapped."""
    return {name.replace(".base_layer.", "."): digest for name, digest in digests.items()}


def learn(model, name, kind, seed=0, **options):
    """Both stages as far as they matter here: the trainable tensors move, nothing else does."""
    model.add_task(text_spec(name, **kind), **options)
    for stage in ("experience", "expansion") if model.peft_config[name].experience else ("expansion",):
        model.set_stage(name, stage)
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn(parameter.shape, generator=generator) * 0.1
    model.set_stage(name, "complete")
    model.metrics[name] = {"accuracy": 0.5 + seed / 100}
