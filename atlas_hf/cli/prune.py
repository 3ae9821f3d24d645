"""`atlas-hf prune`: learned tasks without the adapters that they hardly use, as a folder of its own."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from atlas_hf.cli.commands import command_parser

if TYPE_CHECKING:
    from datasets import Dataset

    from atlas_hf.folder import Results
    from atlas_hf.model import AtlasModel

HELP = """Example:
  atlas-hf prune runs/digits --tasks vqa --threshold 0.01 --output runs/pruned

What each reused adapter adds, and the task's metric before and after, are measured on the test data of the stream or
of the task's own data. The folder itself, and every other task, stays as it is."""
parser = command_parser("prune", HELP)
parser.add_argument("folder", type=Path, help="what `atlas-hf learn` wrote")
parser.add_argument("--tasks", nargs="+", required=True)
parser.add_argument("--threshold", type=float, default=0.01, help="drop what adds a smaller share; default 0.01")
parser.add_argument("--output", type=Path, required=True, help="a new folder")
parser.add_argument("--sources", nargs="+", metavar="TASK=PLACE", help="where the data are, if not where they were")


def parse(argv: list[str]) -> Namespace:
    """The options, checked."""
    options = parser.parse_args(argv)
    if not options.threshold >= 0:
        raise ValueError(
            f"--threshold is {options.threshold}; give a share of the vectors that an adapter adds to, 0 or more."
        )
    if os.path.lexists(options.output):
        raise ValueError(f"{options.output} exists already; give --output a new folder.")
    return options


def run(options: Namespace) -> None:
    """A table per task, and the new folder."""
    from atlas_hf.cli.stream_tasks import scored_on
    from atlas_hf.folder import Index, Results, copy_tasks, creating
    from atlas_hf.model import AtlasModel
    from atlas_hf.report.card import write_card
    from atlas_hf.training import write_results

    names, folder = list(dict.fromkeys(options.tasks)), options.folder
    index = Index.load(folder)
    index.closure(names)  # unknown tasks and those without reuse are told before anything is loaded or measured
    reusing = [name for name, record in index.tasks.items() if record.experience]
    if alone := [name for name in names if name not in reusing]:
        raise ValueError(f"{alone} reuse no other task, so there is nothing to prune; those that do are {reusing}.")
    results = Results.load(folder)
    data = {name: scored_on(folder, results, name, options.sources)[1] for name in names}
    model = AtlasModel.from_pretrained(folder)
    for name in names:
        _prune(model, results, name, data[name], options.threshold)
    with creating(options.output) as temporary:
        temporary.mkdir()
        copy_tasks(folder, temporary)
        model.save_pretrained(temporary, tasks=names)
        write_results(results, temporary)
        write_card(temporary)
    print(f"\nWritten to {options.output}; {folder} is as it was.")


def _prune(model: AtlasModel, results: Results, name: str, data: Dataset, threshold: float) -> None:
    """Prune, print what was dropped and what it changed, and bring what `results` say of the present model up to date.

    Earlier rows of the matrix are history.
    """
    from atlas_hf.report.text import table
    from atlas_hf.training import contributions, mean_coefficients, prune_experience

    pruned = prune_experience(model, name, data, threshold)
    rows = [
        [earlier, f"{share:.4f}", "dropped" if earlier in pruned.dropped else "kept"]
        for earlier, share in pruned.contributions.items()
    ]
    change = f"{pruned.before:.4f} before, {pruned.after:.4f} after ({pruned.after - pruned.before:+.4f})"
    print(f"\n{name}: {model.specs[name].metric} {change}\n{table(['reused', 'contribution', ''], rows)}", flush=True)

    record = results.rescore(name, pruned.after)
    record.experience = list(model.peft_config[name].experience)
    record.parameters = model.count_parameters(name)
    record.coefficients = mean_coefficients(model, name, data)
    record.contributions = contributions(model, name, data)
    record.pruned = {"threshold": threshold} | asdict(pruned)
