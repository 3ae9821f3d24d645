"""Hand-made cells of a benchmark: two upstream tasks, three downstream ones, and scores that are easy to work with."""

from atlas_hf.benchmark.learning.cells import Cell

NONE = None
DOWNSTREAM = {"visual-choice": "multi-modal", "text-class": "text", "image-parity": "image"}
SETTINGS = {
    "sizes": {"train_size": 100, "validation_size": 1, "test_size": 50},
    "training": {"num_train_epochs": 1.0},
    "low_shot_training": {"max_steps": 3},
    "low_shot": ["16", "full"],
    "width": 4,
    "backbone": "some/backbone",
}


def make_cell(method, order, seed, matrix, low_shot, representation=None, stored=400, coefficients=None):
    """A cell with given scores. `low_shot`: one score for each new upstream and each downstream task at 16 examples,
    or scores by task and size; at full size, 0.1 more.
    """
    upstream = ["a", "b"] if order != "reverse" else ["b", "a"]
    values = {"metric": "accuracy", "random_baseline": 0.25, "modality": "text"}
    tasks = [values | {"name": name, "role": "upstream"} for name in upstream]
    tasks += [values | {"name": name, "role": "downstream", "modality": kind} for name, kind in DOWNSTREAM.items()]
    if isinstance(low_shot, float):
        names = [*(upstream if order == "any" else upstream[1:]), *DOWNSTREAM]
        full = {name: {"full": low_shot + 0.1} for name in DOWNSTREAM}
        low_shot = {name: {"16": low_shot} | full.get(name, {}) for name in names}
    cost = {"train_seconds": 8.0, "eval_seconds": 1.0, "samples_per_second": 50.0, "steps": 40}
    cost |= {"peak_memory_bytes": 5e8, "cell_seconds": 30.0}
    return Cell(
        method, order, seed, "digits", SETTINGS, tasks, matrix, low_shot, {"trained": 100, "stored": stored}, cost,
        representation, coefficients, {"device": "some device"},
    )  # fmt: skip


def representation(rank, dispersion=0.5, points=False):
    state = {"effective_rank": rank, "dispersion": dispersion, "spectrum": [0.6, 0.3, 0.1], "tasks": {}}
    return state | ({"points": {"a": [[0.0, 1.0], [1.0, 0.0]], "b": [[1.0, 1.0]]}} if points else {})


def both(before, after, points=False):
    return {"before": representation(before, points=points), "after": representation(after, points=points)}


def in_order(method, gain, order="forward", seeds=(0, 1, 2), drop=0.0):
    """Seed s scores s points more; task 'a' (or 'b' in reverse) drops at the second task."""
    cells = []
    for seed in seeds:
        first, second = 0.6 + seed / 100, 0.7 + seed / 100
        matrix = [[first, NONE], [first - drop, second]]
        states = both(4.0, 5.0 + seed, points=seed == 0)
        few, coefficients = 0.4 + gain + seed * seed / 100, {"a": {"a": 0.5}, "b": {"a": seed / 4, "b": 0.75}}
        cells.append(make_cell(method, order, seed, matrix, few, states, coefficients=coefficients))
    return cells


def alone(seeds=(0, 1, 2)):
    """Independent adapters: 0.4 + s at 16 examples."""
    diagonal = [[0.5, NONE], [NONE, 0.6]]
    return [make_cell("adapter", "any", s, diagonal, 0.4 + s / 100, both(4.0, 4.0), stored=200) for s in seeds]


def all_cells():
    joint = make_cell("joint", "any", 0, [[NONE, NONE], [0.8, 0.9]], {})
    return [
        *in_order("atlas", 0.1), *in_order("atlas", 0.0, "reverse"), *alone(), joint,
        *in_order("sequential_ft", -0.1, drop=0.25),
    ]  # fmt: skip
