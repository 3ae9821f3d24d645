"""An answer is computed in evaluation, whatever mode the model is in and whoever trains it, and changes nothing."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AutoModel, BertConfig, BertModel, ViTMAEConfig, ViTMAEModel
from transformers.models.bert.modeling_bert import BertSelfAttention, BertSelfOutput
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from atlas_hf import AtlasConfig, AtlasModel, AtlasTrainer
from atlas_hf.demo.questions import notes
from atlas_hf.model import evaluating
from shared.comparing import state, tensor_digests
from shared.every_kind import learn
from shared.tiny import SIZE, WORDS, make_tokenizer, picture, quick, text_data, text_spec

TEXTS = [f"{a} {b} {c}" for a in "abc" for b in "def" for c in "gh"]


@pytest.fixture(scope="module")
def dropping_folder(tmp_path_factory):
    """A BERT with dropout, in hidden states and in attention."""
    folder = tmp_path_factory.mktemp("dropping")
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(WORDS), initializer_range=0.1, **SIZE)).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def dropping(dropping_folder):
    torch.manual_seed(0)
    model = AtlasModel.from_pretrained(dropping_folder, config=AtlasConfig(r=4))
    for seed, name in enumerate(("one", "two")):
        learn(model, name, {}, seed)
    return model


def modes(model):
    return [module.training for module in model.modules()]


def trained(model, folder, experience=("one",), **arguments):
    """A third task, and what every step saw."""
    torch.manual_seed(1)
    model.add_task(text_spec("three"), experience=experience)
    data = text_data("a", 32)
    trainer = AtlasTrainer(model, quick(folder, num_train_epochs=2, **arguments), "three", data, text_data("a", 16, 1))
    trainer.train()
    seconds = ("runtime", "per_second")
    return [{k: v for k, v in entry.items() if not k.endswith(seconds)} for entry in trainer.state.log_history]


def test_b7_threads_that_predict_after_training_get_the_answers_of_evaluation(dropping, tmp_path):
    trained(dropping, tmp_path)
    dropping.eval()
    expected = {text: dropping.predict("one", texts=text) for text in TEXTS}
    dropping.train()
    before = modes(dropping)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: dropping.predict("one", texts=text), TEXTS * 5))
    assert found == [expected[text] for text in TEXTS * 5]
    assert modes(dropping) == before and any(before)


@pytest.mark.parametrize("precision", [{}, {"bf16": True, "experience": ()}])
def test_b7_training_and_a_thread_that_predicts_do_not_notice_one_another(dropping_folder, tmp_path, precision):
    def build():
        torch.manual_seed(0)
        model = AtlasModel.from_pretrained(dropping_folder, config=AtlasConfig(r=4))
        for seed, name in enumerate(("one", "two")):
            learn(model, name, {}, seed)
        return model

    alone, beside, ended, wrong, asked = build(), build(), threading.Event(), [], []
    history = trained(alone, tmp_path / "alone", **precision)
    expected = beside.predict("two", texts=TEXTS)
    inputs = beside.preprocessor.encode_texts([["a b"], ["c"]])
    coefficients = beside.coefficients("two", **inputs)

    def ask():
        while not ended.is_set():
            found = beside.coefficients("two", **inputs)
            same = all(torch.equal(found[site], values) for site, values in coefficients.items())
            wrong.extend([None] * (not same or beside.predict("two", texts=TEXTS) != expected))
            asked.append(None)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert trained(beside, tmp_path / "beside", **precision) == history
    finally:
        ended.set()
        thread.join()
    assert tensor_digests(beside) == tensor_digests(alone) and len(asked) > 2 and not wrong


def test_b7_vilt_draws_its_patches_in_a_thread_without_moving_the_training_on(vilt):
    learn(vilt, "one", {"image_columns": ["image"], "text_columns": []})
    images = [picture(colour, (16, 16)) for colour in ("red", "blue")]
    expected = vilt.predict("one", images)
    torch.manual_seed(3)
    numbers = [torch.rand(3).tolist() for _ in range(2000)]
    vilt.train()
    with ThreadPoolExecutor(2) as threads:
        answers = threads.map(lambda _: vilt.predict("one", images), range(20))
        torch.manual_seed(3)
        assert [torch.rand(3).tolist() for _ in range(2000)] == numbers
        assert list(answers) == [expected] * 20


def test_a_backbone_that_nobody_knows_may_draw_anywhere():
    """ViT-MAE hides patches at random, in evaluation too."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(0)
    backbone = ViTMAEModel(ViTMAEConfig(image_size=16, patch_size=4, **sizes))
    images = ViTImageProcessorPil(size={"height": 16, "width": 16})
    model = AtlasModel(backbone, images, AtlasConfig(r=4, target_modules="all-linear", pooling="mean"))
    learn(model, "one", {"image_columns": ["image"], "text_columns": []})
    half = Image.new("RGB", (16, 16), "red")
    half.paste("blue", (0, 0, 8, 16))
    drawn = torch.get_rng_state()
    answers = [model.train(mode).predict("one", half) for mode in (True, False, True)]
    assert answers[0] == answers[1] == answers[2] and torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupt_among_the_draws_leaves_no_trace(vilt, error):
    def interrupt(*_):
        raise error

    learn(vilt, "one", {"image_columns": ["image"], "text_columns": []})
    hook = vilt.get_base_model().embeddings.dropout.register_forward_hook(interrupt)
    with pytest.raises(error):
        vilt.predict("one", picture())
    hook.remove()
    torch.manual_seed(0)
    first = torch.rand(3)
    assert not torch.equal(torch.rand(3), first) and torch.overrides._get_current_function_mode() is None
    assert vilt.predict("one", picture()) == vilt.predict("one", picture())


def test_long_texts_are_cut_while_another_thread_looks_at_whole_ones(dropping):
    long = "a b c d e f " * 20

    def ask(number):
        if number % 2:
            return len(dropping.preprocessor.encode_texts([[long]])["input_ids"][0])
        return len(notes(dropping.preprocessor, {"texts": [long]}))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(200))) == [1, 24] * 100


@pytest.mark.parametrize("ask", ["predict", "coefficients"])
def test_an_answer_changes_nothing_of_a_model_in_any_mode(dropping, ask):
    inputs = dropping.preprocessor.encode_texts([["a b"], ["c"]])
    calls = {
        "predict": lambda: dropping.predict("one", texts="a b"),
        "coefficients": lambda: [values.tolist() for values in dropping.coefficients("one", **inputs).values()],
    }
    expected = calls[ask]()
    dropping.train()
    dropping.get_base_model().encoder.layer[0].eval()  # partly
    before, drawn, mode = state(dropping), torch.get_rng_state(), modes(dropping)
    assert calls[ask]() == expected
    assert state(dropping) == before and modes(dropping) == mode and torch.equal(torch.get_rng_state(), drawn)
    for other in (copy.deepcopy(dropping), pickle.loads(pickle.dumps(dropping))):
        found, (best, *_) = other.predict("one", texts="a b"), dropping.predict("one", texts="a b")
        assert found[0] == {"label": best["label"], "score": pytest.approx(best["score"])} and modes(other) == mode


def test_a_twin_holds_the_models_own_tensors_and_sees_what_is_replaced(dropping):
    dropping.train()
    with evaluating(dropping) as twin:
        drops = [module for module in twin.modules() if isinstance(module, (nn.Dropout, BertSelfAttention))]
        assert len(drops) == 9 and not any(module.training for module in drops) and str(twin) == str(dropping)
        mine, theirs = (model.state_dict(keep_vars=True) for model in (dropping, twin))
        assert list(mine) == list(theirs) and all(mine[name] is theirs[name] for name in mine)
        with evaluating(twin) as again:
            assert again is twin
    weight = dropping.get_base_model().embeddings.word_embeddings
    dropping.get_base_model().set_input_embeddings(nn.Embedding.from_pretrained(weight.weight.detach() * 2))
    with evaluating(dropping) as twin:
        assert torch.equal(twin.get_base_model().get_input_embeddings().weight, weight.weight * 2)


def test_an_answer_in_training_sees_weights_that_were_written_without_notice(dropping):
    dropping.train()
    first = dropping.predict("one", texts="a b")
    site = next(iter(dropping.base_model.sites.values()))
    site.atlas_up["one"].weight.data.mul_(3)  # torch does not count this
    assert dropping.predict("one", texts="a b") != first and len(site.packs) == 0


def test_a_forward_of_a_modules_own_is_called_on_the_copy(dropping):
    """As accelerate puts them on modules that it moves between devices."""
    expected = dropping.predict("one", texts="a b")
    for module in dropping.modules():
        if isinstance(module, BertSelfOutput):
            module.forward = module.forward  # bound to this very module
    dropping.train()
    assert dropping.predict("one", texts="a b") == expected


def test_a_compiled_backbone_answers_in_evaluation(dropping):
    expected = dropping.eval().predict("one", texts="a b")
    backbone, calls = dropping.get_base_model(), []
    whole = backbone._call_impl  # as what torch.compile makes, bound to this very module
    backbone._compiled_call_impl = lambda *args, **kwargs: calls.append(None) or whole(*args, **kwargs)
    for mode, count in ((False, 1), (True, 1), (False, 2)):
        found = dropping.train(mode).predict("one", texts="a b")
        assert [answer["label"] for answer in found] == [answer["label"] for answer in expected]
        assert found[0]["score"] == pytest.approx(expected[0]["score"], abs=1e-5) and len(calls) == count


def test_a_frozen_base_of_a_site_that_drops_is_copied_too(dropping_folder):
    backbone = AutoModel.from_pretrained(dropping_folder)
    site = backbone.encoder.layer[0].output

    class Dropping(nn.Linear):
        def forward(self, x):
            return nn.functional.dropout(super().forward(x), 0.5, self.training)

    linear, site.dense = site.dense, Dropping(64, 32)
    site.dense.load_state_dict(linear.state_dict())
    model = AtlasModel(backbone, make_tokenizer(), AtlasConfig(r=4))
    learn(model, "one", {})
    inputs = model.preprocessor.encode_texts([["a b"], ["c"]])
    expected, coefficients = model.eval().predict("one", texts="a b"), model.coefficients("one", **inputs)
    model.train()
    found = model.coefficients("one", **inputs)
    assert model.predict("one", texts="a b") == expected and found.keys() == coefficients.keys()
    assert all(torch.equal(found[path], values) for path, values in coefficients.items())
