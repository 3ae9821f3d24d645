"""What tests of reuse begin with."""

from copy import deepcopy

import pytest
import torch

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer
from shared.tiny import quick, randomize, text_data, text_spec

UNSAVED = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False}


@pytest.fixture(scope="module")
def noise_and_sight(bert_folder):
    """One task has learned to see the letter a, the other's adapter is noise."""
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    model.add_task(text_spec("noise"))
    randomize(model, "noise")
    model.set_stage("noise", "complete")
    model.add_task(text_spec("sees-a"), experience=())
    args = quick(num_train_epochs=15, learning_rate=1e-2, adam_epsilon=1e-8, **UNSAVED)
    AtlasTrainer(model, args, train_dataset=text_data("a", 256)).train()
    return model


@pytest.fixture
def after_noise_and_sight(noise_and_sight):
    return deepcopy(noise_and_sight)
