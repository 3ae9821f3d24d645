"""What the tests of folders load into."""

import pytest
import torch

from atlas_hf import AtlasConfig, AtlasModel
from shared.tiny import text_spec


@pytest.fixture
def learner(bert_folder):
    """A model in the middle of a task of its own, into which folders are loaded."""
    torch.manual_seed(1)
    model = AtlasModel.from_pretrained(bert_folder, config=AtlasConfig(r=4))
    model.add_task(text_spec("mine"))
    return model.train()
