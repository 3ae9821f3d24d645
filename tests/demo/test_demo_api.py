"""The demo's public functions, called with the unmodified `gradio_client` on a running demo."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from atlas_hf.demo import DIGITS_MODEL, DIGITS_MODEL_ID
from atlas_hf.demo.examples import examples
from atlas_hf.model.atlas_model import AtlasModel
from shared.demo_server import MODEL, OTHER, SECRET


@pytest.fixture(scope="module")
def client(served):
    return Client(served.url, verbose=False)


def arguments(name):
    question = examples()[name].question
    images = {"image": question.images[:1], "second_image": question.images[1:]}
    files = {key: handle_file(path[0]) for key, path in images.items() if path}
    return files | {"task": name, "text": question.text, "choices": question.choices.splitlines()}


def test_the_functions_are_named_and_documented(client):
    found = client.view_api(return_format="dict")
    assert set(found["named_endpoints"]) == {"/tasks", "/predict"} and not found["unnamed_endpoints"]
    for endpoint, text in (("/tasks", "in the order of learning"), ("/predict", "Answer a task's question")):
        assert text in found["named_endpoints"][endpoint]["description"]
    assert "after: answer with the model as it was after so many tasks" in str(found["named_endpoints"]["/predict"])
    names = [parameter["parameter_name"] for parameter in found["named_endpoints"]["/predict"]["parameters"]]
    assert names[:5] == ["task", "image", "second_image", "text", "choices"]


def test_tasks(client):
    found = client.predict(api_name="/tasks")
    assert found["model"] == DIGITS_MODEL_ID and found["commit"] is None
    assert [task["name"] for task in found["tasks"]][:2] == ["entailment", "text-choice"]
    assert found["tasks"][3]["reuses"] == ["entailment", "text-choice", "image-class"]


@pytest.mark.parametrize("name", examples())
def test_predictions_are_those_of_the_model(client, name):
    model = AtlasModel.from_pretrained(DIGITS_MODEL, tasks=[name])
    spec, question = model.specs[name], examples()[name].question
    images = question.images if len(question.images) > 1 else question.images[0] if question.images else None
    choices = question.choices.splitlines() if spec.choices_column else None
    expected = model.predict(name, images, question.text if spec.text_columns else None, choices)
    answer = client.predict(**arguments(name), api_name="/predict")
    assert [one["label"] for one in answer["answers"]] == [one["label"] for one in expected]
    assert [one["score"] for one in answer["answers"]] == pytest.approx([one["score"] for one in expected], abs=1e-6)
    assert answer["seconds"] > 0 and answer["notes"] == []
    assert all(list(site) == [*model.peft_config[name].experience, name] for site in answer["coefficients"].values())


def test_a_repository_at_a_revision(client, served):
    found = client.predict(model=MODEL, revision="task-02-text-choice", api_name="/tasks")
    assert [task["name"] for task in found["tasks"]] == ["entailment", "text-choice"]
    assert found["commit"] == served.hub.store.repos["model", MODEL].tags["task-02-text-choice"]
    here, there = (
        client.predict(**arguments("text-choice"), **where, api_name="/predict")["answers"]
        for where in ({}, {"model": MODEL, "after": 2})
    )
    assert here == there


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"task": "nothing"}, "There is no task 'nothing' in this model; there are entailment, text-choice"),
        ({"task": "vqa", "text": "what digit is red ?"}, "The task vqa takes an image; you gave none."),
        ({"task": "text-choice", "text": "what is odd ?"}, "The task text-choice chooses among 2; you gave none."),
        ({"task": "text-class", "text": "x" * 2001}, "The text has 2,001 characters; at most 2,000 are read."),
        ({"task": "text-class", "text": "one", "model": "user/nothing"}, "There is no public repository user/nothing"),
        ({"task": "text-class", "text": "one", "model": SECRET}, "if it is private, give a token that reads it"),
        ({"task": "text-class", "text": "one", "model": OTHER}, f"{OTHER} is no model of atlas_hf"),
        (
            {"task": "text-class", "text": "one", "model": MODEL, "revision": "a\0"},
            "a character that cannot be in one",
        ),
        (
            {"task": "text-class", "text": "one", "model": MODEL, "token": "hf_\na"},
            "a character that cannot be in one",
        ),
        ({"task": "text-class", "text": "one", "model": MODEL, "revision": "v9"}, f"{MODEL} has no such revision"),
        ({"task": "text-class", "text": "one", "model": "/etc"}, "'/etc' is no repository of the Hub"),
        ({"task": "text-class", "text": "one", "after": 9}, "The model has 8 tasks; choose one of 1 to that, not 9."),
        ({"task": "text-class", "text": "one", "after": 1}, "The task text-class was not learned yet after task 1."),
        ({"task": "vqa", "text": "x", "image": {"path": "/etc/hostname"}}, "An image is an uploaded file"),
    ],
)
def test_mistakes_are_told_in_words(client, served, wrong, text):
    with pytest.raises(AppError) as caught:
        client.predict(**wrong, api_name="/predict")
    message = str(caught.value)
    assert text in message and "Traceback" not in message and "/tmp" not in message and "http" not in message
    assert client.predict(**arguments("text-class"), api_name="/predict")["answers"], "and the demo goes on"
    assert served.no_traceback()


def test_a_file_that_is_no_image(client, served, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no image")
    with pytest.raises(AppError, match="This file is no image that can be read"):
        client.predict("image-class", handle_file(path), api_name="/predict")
    assert served.no_traceback()


def test_a_private_repository_is_for_those_with_a_token_alone(client):
    """Also once it is in the demo's memory and on its disk."""
    asked = {**arguments("text-choice"), "model": SECRET, "api_name": "/predict"}
    assert client.predict(**asked, token="hf_write")["answers"]
    for token in ("", "hf_other"):
        with pytest.raises(AppError, match=f"There is no public repository {SECRET}"):
            client.predict(**asked, token=token)


def test_several_people_at_once_get_their_own_answers(served, client):
    names = [*examples()]
    alone = {name: client.predict(**arguments(name), api_name="/predict")["answers"] for name in examples()}
    visitors = [Client(served.url, verbose=False) for _ in range(3)]

    def ask(number):
        return visitors[number % 3].predict(**arguments(names[number]), api_name="/predict")["answers"]

    with ThreadPoolExecutor(6) as threads:
        for number, answers in enumerate(threads.map(ask, range(len(names)))):
            assert answers == alone[names[number]]
