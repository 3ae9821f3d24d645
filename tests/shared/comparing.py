"""What a model or a folder is, to the bit: to compare before and after."""

import hashlib
from pathlib import Path

import torch

from atlas_hf.folder import tensor_bytes


def seeded(model, task, **inputs):
    """Logits in evaluation mode; what is drawn afterwards is the same, too."""
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


def state(model):
    """All that an error must leave alone."""
    trains = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return (
        tensor_digests(model),
        str(getattr(model, "base_model", model)),  # every module
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
