"""One model, several threads with a task each: everybody gets his own answer, and an error leaves nothing behind."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from atlas_hf.tuner.route import ROUTE
from shared.comparing import Unchanged
from shared.every_kind import learn
from shared.tiny import text_spec

TASKS = ["one", "two", "three"]


@pytest.fixture
def learned(bert):
    for seed, name in enumerate(TASKS):
        learn(bert, name, {}, seed)
    bert.set_task("one")
    return bert.eval()


def answer(model, task):
    """One call; grad mode belongs to a thread, so it is set in each."""
    inputs = model.preprocessor.encode_texts([["a b"], ["c d e"]])
    with torch.no_grad():
        return model(task=task, **inputs).logits


def same(found, expected):
    return all(torch.equal(left, right) for left, right in zip(found, expected, strict=True))


def test_threads_with_tasks_of_their_own(learned):
    calls = [*TASKS, ["three", "one"]] * 12
    expected = {str(task): answer(learned, task) for task in calls[:4]}
    assert not same(expected["one"], expected["two"])
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda task: answer(learned, task), calls))
    for task, found in zip(calls, answers, strict=True):
        assert same(found, expected[str(task)]), task
    assert learned.task == "one" and ROUTE.get() is None


@pytest.mark.parametrize("task", ["two", ["two", "three"]])
def test_an_error_in_the_middle_of_a_call_leaves_no_route(learned, task):
    expected = answer(learned, "one")

    def fail(*_):
        raise RuntimeError("in the last layer")

    with Unchanged(learned):
        hook = learned.get_base_model().encoder.layer[-1].register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="in the last layer"):
            answer(learned, task)
        assert ROUTE.get() is None
        hook.remove()
        assert torch.equal(answer(learned, None), expected)


def test_errors_in_one_thread_do_not_reach_another(learned):
    expected = answer(learned, "three")

    def ask(number):
        if number % 2:
            with pytest.raises(ValueError, match="There is no task 'nobody'"):
                answer(learned, ["three", "nobody"])
            return expected
        return answer(learned, "three")

    with ThreadPoolExecutor(4) as threads:
        assert all(torch.equal(found, expected) for found in threads.map(ask, range(24)))
    learned.add_task(text_spec("four"))
    assert learned.tasks == [*TASKS, "four"]
