"""What `unload` gives back is the backbone as transformers made it."""

import copy

import pytest
import torch
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasModel
from atlas_hf.tuner import AtlasLayer
from shared.every_kind import learn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")


def traces(module):
    """Where one could see that a model was wrapped."""
    hooks = {name: len(getattr(module, name)) for name in (*HOOKS, "_forward_hooks_always_called")}
    return type(module), hooks, sorted(vars(module))


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("kind", ["bert", "vilt"])
def test_unload_leaves_nothing_of_ours(request, kind, copied):
    folder = request.getfixturevalue(f"{kind}_folder")
    fresh, model = AutoModel.from_pretrained(folder), AtlasModel.from_pretrained(folder, config=AtlasConfig(r=4))
    learn(model, "one", {})
    inputs = model.collator("one").inputs([{"text": "a b"}, {"text": "c"}])
    for backbone in (fresh, model.get_base_model()):
        backbone.gradient_checkpointing_enable()
        backbone.train()
    model.train()(task="one", **inputs)  # which has its checkpoints routed
    bare = (copy.deepcopy(model) if copied else model).unload()
    assert not any(isinstance(module, AtlasLayer) for module in bare.modules())
    assert {name: traces(m) for name, m in bare.named_modules()} == {
        name: traces(m) for name, m in fresh.named_modules()
    }
    for name, module in bare.named_modules():
        mine, theirs = (getattr(m, "_gradient_checkpointing_func", None) for m in (module, fresh.get_submodule(name)))
        assert getattr(mine, "func", None) is getattr(theirs, "func", None)
    for mode in (True, False):
        outputs = []
        for backbone in (fresh, bare):
            backbone.train(mode).requires_grad_(True).zero_grad()
            torch.manual_seed(0)
            output = backbone(**inputs).last_hidden_state
            output.square().sum().backward()
            outputs.append((output, [parameter.grad for parameter in backbone.parameters()]))
        (expected, gradients), (found, others) = outputs
        assert torch.equal(found, expected)
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(gradients, others, strict=True))
