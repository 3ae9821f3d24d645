"""The benchmark that asks whether a task needs all of its inputs."""

import subprocess
import sys

import pytest

from atlas_hf.benchmark.learning.shortcuts import variants
from atlas_hf.streams import digits
from atlas_hf.streams.digits.tasks import TASKS


def test_a_multi_modal_task_loses_its_image_or_its_text():
    found = {name: variants(task.spec) for name, task in TASKS.items()}
    assert list(found["image-class"]) == list(found["text-class"]) == ["alone"]
    assert {name: spec.modality for name, spec in found["vqa"].items()} == {
        "alone": "multi-modal", "text-only": "text", "image-only": "image"
    }  # fmt: skip
    assert list(found["visual-choice"]) == ["alone", "text-only"]
    pairs = found["image-pairs"]
    assert pairs["text-only"].problem_type == "single_label_classification"
    assert pairs["image-only"].rows_per_example == 2


def test_what_is_left_still_fits_the_data():
    for name in digits.DOWNSTREAM + digits.ORDERS["multi-first"]:
        spec, data = digits.load_task(name, 4, 2, 2)
        for changed in variants(spec).values():
            changed.check_dataset(data["train"], "train")


@pytest.mark.slow
def test_the_command_prints_a_row_per_task(tmp_path):
    command = [sys.executable, "-m", "atlas_hf.benchmark.learning.shortcuts", "--smoke", "--output", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(name in run.stdout for name in TASKS)
