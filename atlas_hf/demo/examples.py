"""Examples to click: of each task of the digits stream the first of its test split, whatever the model makes of it.

`python -m atlas_hf.demo.examples` writes them anew, once the old ones are removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from atlas_hf.demo.questions import Question
from atlas_hf.folder import creating, read_json, write_json
from atlas_hf.streams import digits
from atlas_hf.streams.digits.tasks import TASKS
from atlas_hf.tasks import TaskSpec

FOLDER = Path(__file__).parent / "examples"
LIST = "examples.json"


@dataclass(frozen=True)
class Example:
    """A question, and what the data say is right."""

    question: Question
    expected: str


@cache
def examples() -> dict[str, Example]:
    """By task, with the full paths of their images."""
    found = {}
    for row in read_json(FOLDER / LIST)["examples"]:
        images = tuple(str(FOLDER / name) for name in row["images"])
        found[row["task"]] = Example(Question(row["task"], images, row["text"], row["choices"]), row["expected"])
    return found


def fitting(specs: Mapping[str, TaskSpec]) -> dict[str, Example]:
    """The examples of those tasks that are the stream's own, in a model's order."""
    outline = attrgetter("problem_type", "input_columns", "num_choices", "dataset_id")
    own = {name: outline(TASKS[name].spec) for name in examples()}
    return {name: examples()[name] for name, spec in specs.items() if own.get(name) == outline(spec)}


def write_examples(folder: Path = FOLDER) -> None:
    """The images as PNG files and a list of the examples."""
    folder.mkdir(exist_ok=True)
    names = (*digits.ORDERS["multi-first"], *digits.DOWNSTREAM)
    write_json(folder / LIST, {"examples": [_write_example(folder, name) for name in names]})


def _write_example(folder: Path, task: str) -> dict[str, Any]:
    spec, data = digits.load_task(task, 1, 1, 1)
    row = data["test"][0]
    images = [f"{task}-{column}.png" for column in spec.image_columns]
    for name, column in zip(images, spec.image_columns, strict=True):
        with creating(folder / name) as temporary:
            row[column].save(temporary)
    choices, label = row[spec.choices_column] if spec.choices_column else (), row[spec.label_column]
    if spec.score_column:  # of several right answers the one with the highest score
        label = max(zip(row[spec.score_column], label, strict=True))[1]
    return {
        "task": task,
        "images": images,
        "text": "\n".join(row[column] for column in spec.text_columns),
        "choices": "\n".join(choices),
        "expected": (choices or spec.label_names or ())[label],
    }


if __name__ == "__main__":
    write_examples()
