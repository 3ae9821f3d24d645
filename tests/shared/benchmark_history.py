"""What the tests of the benchmark's methods share: a tiny stream, and what each method did on it."""

from collections import Counter
from functools import cache

import pytest
import torch
from transformers import Trainer

from atlas_hf import AtlasTrainingArguments
from atlas_hf.benchmark.methods import METHODS, Setting
from atlas_hf.model import evaluating
from atlas_hf.streams import digits
from shared.comparing import tensor_digests

SETTING = Setting(digits.BACKBONE_ID, width=8)
TASKS = [digits.load_task(name, 16, 1, 8) for name in ("text-choice", "vqa", "image-class")]
NAMES = [spec.name for spec, _ in TASKS]
STEPS = 3
EPOCHS = {"num_train_epochs": 3.0, "experience_num_train_epochs": 0.5, "max_steps": -1, "experience_max_steps": None}


def settings(**changes):
    values = digits.TRAINING | {"max_steps": STEPS - 1, "experience_max_steps": 1, "per_device_train_batch_size": 8}
    return AtlasTrainingArguments("unused", recipe="paper", report_to="none", use_cpu=True, **values | changes)


def logits(method, task):
    """Of the test split, to the bit."""
    data = next(data for spec, data in TASKS if spec.name == task)
    inputs = method.model.collator(task).inputs(list(data["test"]))
    with torch.no_grad(), evaluating(method.model) as twin:
        return twin(task=task, **inputs).logits


def count_steps(patch, counts):
    """Count the steps that are really trained, by the Trainer's task and stage."""
    step = Trainer.training_step

    def counting(trainer, *args, **kwargs):
        counts[trainer.task, getattr(trainer, "stage", None)] += 1
        return step(trainer, *args, **kwargs)

    patch.setattr(Trainer, "training_step", counting)


class History:
    """A method that learned the first two tasks, with what was seen after each."""

    def __init__(self, name):
        self.method = METHODS[name](SETTING)
        self.costs, self.states, self.logits, self.counts, self.trained = [], [], [], [], Counter()
        with pytest.MonkeyPatch.context() as patch:
            count_steps(patch, self.trained)
            for tasks in [TASKS[:2]] if self.method.together else [[task] for task in TASKS[:2]]:
                self.costs.append(self.method.learn(tasks, settings()))
                self.states.append(tensor_digests(self.method.model))
                self.logits.append({task: logits(self.method, task) for task in self.method.model.specs})
                self.counts.append(self.method.parameters())


history = cache(History)
