"""Examples of different tasks in one forward call get what they get in calls of their own."""

import pytest
import torch
from peft import PeftModel
from transformers import AutoModel

from atlas_hf import AtlasConfig, AtlasModel
from shared.tiny import CHOICE, PAIR, picture, randomize, text_spec

ROWS = {
    "one": [{"text": "a b c d"}, {"text": "h"}],
    "two": [{"text": "a", "choices": ["b", "c c c", "d"]}, {"text": "g g", "choices": ["a", "b", "c"]}],
    "three": [{"text": "e f", "left": picture("red"), "right": picture("blue", (32, 16))}],
}
MIXED = ["three", "one", "two", "one", "two"]


def learned(folder, **config):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(folder, config=AtlasConfig(**({"r": 4} | config)))
    shapes = {"one": {"label_names": list("abcde")}, "two": CHOICE, "three": PAIR}
    for i, (name, shape) in enumerate(shapes.items()):
        is_text = "vilt" not in str(folder)
        model.add_task(text_spec(name, **({} if is_text and shape is PAIR else shape)), r=3 + i)
        randomize(model, name, seed=i)
        model.set_stage(name, "complete")
    return model.eval()


def joined(model, tasks, rows=ROWS):
    """The inputs of examples of these tasks in one batch, padded to the longest, and what each was made of."""
    from transformers import BatchFeature

    left = {name: list(examples) for name, examples in rows.items()}
    examples = [(task, left[task].pop(0)) for task in tasks]
    parts = [model.collator(task).inputs([example]) for task, example in examples]
    length = max(part["input_ids"].shape[1] for part in parts)
    batch = {}
    for name in parts[0]:
        tensors = [part[name] for part in parts]
        if tensors[0].dim() == 2:
            tensors = [torch.nn.functional.pad(tensor, (0, length - tensor.shape[1])) for tensor in tensors]
        else:
            sizes = [max(tensor.shape[axis] for tensor in tensors) for axis in (-1, -2)]
            gaps = [(0, sizes[0] - tensor.shape[-1], 0, sizes[1] - tensor.shape[-2]) for tensor in tensors]
            tensors = [torch.nn.functional.pad(t, gap) for t, gap in zip(tensors, gaps, strict=True)]
        batch[name] = torch.cat(tensors)
    return dict(BatchFeature(batch)), parts


def alone(model, tasks, parts):
    torch.manual_seed(0)
    with torch.no_grad():
        return [model(task=task, **part).logits[0] for task, part in zip(tasks, parts, strict=True)]


def assert_close(found, expected):
    assert isinstance(found, tuple) and len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize("weighting", ["adapter", "channel"])
@pytest.mark.parametrize("token_weight", ["each", "shared"])
def test_text_tasks_with_heads_and_rows_of_their_own(bert_folder, variant, weighting, token_weight):
    model = learned(bert_folder, variant=variant, weighting=weighting, token_weight=token_weight)
    rows = ROWS | {"three": [{"text": "e f"}]}
    batch, parts = joined(model, MIXED, rows)
    with torch.no_grad():
        logits = model(task=MIXED, **batch).logits
    assert [len(values) for values in logits] == [2, 5, 3, 5, 3]
    assert_close(logits, alone(model, MIXED, parts))


def test_the_bare_backbone_among_them(bert_folder):
    model = learned(bert_folder)
    tasks = ["one", "__base__", "one"]
    batch, parts = joined(model, ["one", "two", "one"], {**ROWS, "two": [{"text": "b b", "choices": ["c"] * 3}]})
    parts[1] = {name: tensor[:1] for name, tensor in parts[1].items()}
    batch = {name: tensor[[0, 1, 4]] for name, tensor in batch.items()}
    bare = AutoModel.from_pretrained(bert_folder)(**parts[1]).pooler_output[0]
    logits = model(task=tasks, **batch).logits
    torch.testing.assert_close(logits[1], bare, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model(task="__base__", **parts[1]).logits[0], bare)
    assert_close(logits, alone(model, tasks, parts))


@pytest.mark.parametrize("token_weight", ["each", "shared"])
def test_images_and_pairs_in_vilt(vilt_folder, token_weight):
    model = learned(vilt_folder, token_weight=token_weight)
    rows = {
        "one": [{"text": "a b c d"}, {"text": "h"}],
        "two": ROWS["two"],
        "three": [{"text": "e f", "left": picture("red"), "right": picture("blue")}],
    }
    batch, parts = joined(model, MIXED, rows)
    torch.manual_seed(0)
    with torch.no_grad():
        assert_close(model(task=MIXED, **batch).logits, alone(model, MIXED, parts))


def test_loss_and_gradients_are_the_mean_over_the_examples(bert_folder):
    model = learned(bert_folder)
    model.set_stage("three", "expansion", relearn=True)
    tasks = ["three", "one", "three"]
    batch = model.preprocessor.encode_texts([["a b"], ["c"], ["d e f"]])
    labels = torch.tensor([1, 4, 0])
    together = model(task=tasks, labels=labels, **batch).loss
    found = torch.autograd.grad(together, model.base_model.sites["encoder.layer.0.output.dense"].atlas_key["three"])
    losses = [
        model(task=task, labels=labels[i : i + 1], **{name: value[i : i + 1] for name, value in batch.items()}).loss
        for i, task in enumerate(tasks)
    ]
    expected = sum(losses) / 3
    torch.testing.assert_close(together, expected)
    key = model.base_model.sites["encoder.layer.0.output.dense"].atlas_key["three"]
    torch.testing.assert_close(found, torch.autograd.grad(expected, key), atol=1e-6, rtol=1e-4)


def test_what_does_not_fit_is_said(bert_folder):
    model = learned(bert_folder)
    batch = model.preprocessor.encode_texts([["a b"], ["c"], ["d"]])
    with pytest.raises(ValueError, match="The 2 examples have 4 rows {'one': 1, 'two': 3}; 3 rows were given. Name"):
        model(task=["one", "two"], **batch)
    with pytest.raises(ValueError, match="no task 'four'; there are"):
        model(task=["one", "four", "one"], **batch)
    with pytest.raises(ValueError, match="There are 1 labels for the tasks .* Give each one"):
        model(task=["one"] * 3, labels=[1], **batch)
    with pytest.raises(ValueError, match="Give each one; __base__ has none"):
        model(task=["one", "__base__", "one"], labels=[1, 1, 1], **batch)
    with pytest.raises(ValueError, match="here, give task=\\[...\\], one per example"):
        model(task="one", adapter_names=["one"] * 3, **batch)


def test_the_active_task_and_other_calls_are_as_before(bert_folder):
    model = learned(bert_folder)
    model.set_task("one")
    batch = model.preprocessor.encode_texts([["a b"], ["c"]])
    before = model(**batch).logits
    model(task=["three", "one"], **batch)
    assert model.task == "one" and torch.equal(model(**batch).logits, before)


def test_adapter_names_of_plain_peft(bert_folder, tmp_path):
    model = learned(bert_folder)
    model.save_pretrained(tmp_path)
    peft = PeftModel.from_pretrained(AutoModel.from_pretrained(bert_folder), tmp_path, "one", subfolder="one")
    peft.load_adapter(tmp_path, "two", subfolder="two")
    batch = model.preprocessor.encode_texts([["a b"], ["c"], ["d e f"], ["g"]])
    names = ["two", "one", "__base__", "two"]
    with torch.no_grad():
        found = peft.eval()(adapter_names=names, **batch).pooler_output
        expected = [model.pooled(name, **batch)[i] for i, name in enumerate(names)]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match=r"Trying to infer with non-existing adapter\(s\): three. Give a name"):
        peft(adapter_names=["three"], **batch)
    with pytest.raises(ValueError, match="Length of `adapter_names` should be the same .* but got 3 and 4 resp"):
        peft(adapter_names=["one"] * 3, **batch)


def test_gradient_checkpointing_keeps_the_tasks_of_the_rows(bert_folder):
    model = learned(bert_folder).train()
    model.set_stage("three", "expansion", relearn=True)
    batch = model.preprocessor.encode_texts([["a b"], ["c"]])
    key = model.base_model.sites["encoder.layer.0.output.dense"].atlas_key["three"]

    def gradient():
        loss = model(task=["three", "one"], labels=[1, 1], **batch).loss
        return torch.autograd.grad(loss, key)

    expected = gradient()
    model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    torch.testing.assert_close(gradient(), expected)
