"""Examples as people have them: text or texts, image or images, one or many, for `predict` and `coefficients`."""

import pytest
import torch

from atlas_hf.model import answering_model
from shared.tiny import CHOICE, learned, picture, text_spec

TEXTS = ["a b c d e f", "h", "c c a", "b"]


@pytest.fixture(scope="module")
def model(bert_folder):
    model = learned(bert_folder, ("one", "two"))
    model.add_task(text_spec("choice", **CHOICE), experience=["one"])
    model.set_stage("choice", "complete")
    return model


def test_text_and_texts_take_one_or_many(model):
    many = model.predict("two", texts=TEXTS)
    assert model.predict("two", text=TEXTS) == many and len(many) == 4
    assert model.predict("two", text=TEXTS[0]) == model.predict("two", texts=TEXTS[0])
    assert model.predict("two", text=TEXTS[0])[0].keys() == {"label", "score"}


def test_image_and_images_take_one_or_many(vilt_folder):
    model = learned(vilt_folder, ("one",))
    model.add_task(text_spec("look", image_columns=["image"], text_columns=[]), experience=["one"])
    model.set_stage("look", "complete")
    pictures = [picture("red"), picture("blue")]
    many = model.predict("look", images=pictures)
    assert model.predict("look", image=pictures) == many and len(many) == 2
    assert model.predict("look", image=pictures[0]) == model.predict("look", images=pictures[0])
    assert len(next(iter(model.coefficients("look", image=pictures).values()))) == 2


@pytest.mark.parametrize("ask", ["predict", "coefficients"])
@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"text": "a", "texts": ["b"]}, "text and texts were given. Give one of both; each takes one or a list"),
        ({"image": "a", "images": ["b"]}, "image and images were given"),
        ({"images": picture()}, "Task 'two' takes texts; given were images"),
    ],
)
def test_an_input_under_two_names_or_of_another_kind_is_refused(model, ask, given, text):
    with pytest.raises(ValueError, match=text):
        getattr(model, ask)("two", **given)


def test_coefficients_take_the_examples_that_predict_takes(model, monkeypatch):
    tensors = model.coefficients("two", **model.preprocessor.encode_texts([[text] for text in TEXTS]))
    monkeypatch.setattr(answering_model, "BATCH_SIZE", 3)
    for given in ({"texts": TEXTS}, {"text": TEXTS}):
        found = model.coefficients("two", **given)
        assert found.members == ("one", "two") and list(found) == list(tensors)
        for site, values in tensors.items():
            assert torch.allclose(found[site], values, atol=1e-6)
    alone = model.coefficients("two", text=TEXTS[1])
    assert all(torch.allclose(alone[site], values[1:2], atol=1e-5) for site, values in tensors.items())
    assert str(found).startswith("Mean ± spread of coefficients over 4 rows (0 to 1; untrained ones are near 0.5)\n")


def test_an_example_with_choices_has_a_row_for_each(model):
    found = model.coefficients("choice", texts=["a", "b"], choices=[["c", "d", "e"], ["f", "g", "h"]])
    assert {len(values) for values in found.values()} == {6}


def test_coefficients_are_of_examples_or_of_tensors(model):
    tensors = model.preprocessor.encode_texts([["a"]])
    with pytest.raises(ValueError, match=r"Both examples and tensors were given. Give examples as predict takes them"):
        model.coefficients("two", text="a", **tensors)
    with pytest.raises(ValueError, match="Neither examples nor tensors were given"):
        model.coefficients("two")


def test_a_notebook_gets_coefficients_as_a_table(model):
    html = model.coefficients("two", texts=TEXTS)._repr_html_()
    assert html.count("<tr>") == 6 and "all sites" in html and "over 4 rows" in html
