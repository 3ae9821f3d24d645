"""Methods that learn nothing: they score what a rule says, at once, and note every call beside their backbone.

A file `fail`, `die` or `slow` in the backbone's folder makes the method that is named in it raise an error, kill
its process, or hang.
"""

import copy
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np

from atlas_hf.benchmark.learning.plan import Plan
from atlas_hf.benchmark.methods import Cost, Method
from atlas_hf.streams.digits import backbone_path

UPSTREAM = ["entailment", "text-choice", "image-class", "vqa"]


class Standin(Method):
    """Score: 0.5, and 0.05 for each task known before, 0.1 for more than 8 examples, 0.01 for the seed."""

    forgets, model = 0.0, None

    def __init__(self, setting):
        self.setting, self.known, self.folder = setting, {}, Path(setting.backbone)
        self.began_at = {}

    def build(self):
        raise AssertionError("a stand-in has no model")

    train = build

    def learn(self, tasks, args):
        if self.told_to("slow"):
            time.sleep(60)
        if self.told_to("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.told_to("fail"):
            raise RuntimeError("this stand-in was told to fail")
        for spec, data in tasks:
            earlier = len(self.known) if self.uses_order else 0
            self.began_at[spec.name] = list(self.known)[:earlier]
            self.known = {name: score - self.forgets for name, score in self.known.items()}
            self.known[spec.name] = 0.5 + 0.05 * earlier + 0.1 * (len(data["train"]) > 8) + 0.01 * self.setting.seed
            with (self.folder / "calls.log").open("a") as log:
                print(self.name, self.setting.seed, spec.name, len(data["train"]), args.max_steps, file=log)
        return Cost(seconds=2.0, steps=10, samples_per_second=50.0)

    def told_to(self, what):
        return (self.folder / what).is_file() and (self.folder / what).read_text() == self.name

    def evaluate(self, task, dataset):
        return self.known[task]

    def pooled(self, task, dataset):
        return np.random.default_rng(len(task)).normal(size=(len(dataset), 128))

    def parameters(self):
        return {"trained": 100, "stored": 100 * len(self.known)}

    def fork(self):
        return copy.deepcopy(self)


class Reuser(Standin):
    name, summary = "reuser", "Gains 5 points from each earlier task."


class Forgetter(Standin):
    name, summary, forgets = "forgetter", "Loses 20 points of every task with each new one.", 0.2


class Alone(Standin):
    name, summary, uses_order = "alone", "Knows nothing of other tasks.", False


class Together(Alone):
    name, summary, together = "together", "Learns all tasks at once.", True


STANDINS = {method.name: method for method in (Reuser, Forgetter, Alone, Together)}


def make_plan(folder, **changes):
    """A tiny plan; its backbone is a copy of the digits backbone in `folder`, where the calls are noted."""
    backbone = Path(folder) / "backbone"
    if not backbone.exists():
        shutil.copytree(backbone_path(), backbone)
    values = {
        "stream": "digits",
        "orders": ["multi-first"],
        "methods": STANDINS,
        "seeds": [0],
        "low_shot": ["4", "8", "full"],
        "sizes": {"train_size": 12, "validation_size": 2, "test_size": 6},
        "training": {"num_train_epochs": 1.0},
        "low_shot_training": {"max_steps": 3},
        "width": 4,
        "backbone": str(backbone),
    }
    return Plan(**values | changes)


def calls(folder):
    return (Path(folder) / "backbone" / "calls.log").read_text().splitlines()
