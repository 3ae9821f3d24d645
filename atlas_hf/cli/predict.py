"""`atlas-hf predict`."""

import os
from argparse import Namespace
from pathlib import Path

from atlas_hf.cli.commands import command_parser

HELP = """Example:
  atlas-hf predict runs/digits --task vqa --images scene.png --text "what digit is at the top left ?"
  atlas-hf predict runs/digits --task text-choice --text "which is larger ?" --choices seven three
  atlas-hf predict runs/mine --task tweets --input new.csv
  atlas-hf predict runs/mine --task tweets --input new.csv --output answers.csv

Of a table (CSV, TSV, JSON lines or Parquet) the columns are read that the task was learned from. The answer has
all of its columns, and the best answer to each row with its score: a new file, or, without --output,
printed as CSV."""
parser = command_parser("predict", HELP)
parser.add_argument("model", help="folder or Hub repository")
parser.add_argument("--task", required=True)
parser.add_argument("--images", nargs="+", help="one image file, or two for a task about pairs")
parser.add_argument("--text", nargs="+", help="one text, or one per text column")
parser.add_argument("--choices", nargs="+")
parser.add_argument("--input", type=Path, metavar="TABLE", help="answer every row of a table, in one start")
parser.add_argument(
    "--output",
    type=Path,
    metavar="TABLE",
    help="where the answers to --input go: a new file; without, they are printed",
)
parser.add_argument("--top-k", type=int, default=5)
parser.add_argument("--revision", help="commit, branch or tag, for a repository")


def parse(argv: list[str]) -> Namespace:
    """The options, checked."""
    options = parser.parse_args(argv)
    if options.output and not options.input:
        raise ValueError(f"--output {options.output} is for the answers to a table; give it with --input TABLE.")
    if options.input and (options.images or options.text or options.choices):
        raise ValueError("Give --input, for all rows of a table, or one example (--images, --text, --choices).")
    if options.output and os.path.lexists(options.output):
        raise ValueError(f"{options.output} exists already, and nothing is overwritten; give --output a new file.")
    return options


def run(options: Namespace) -> None:
    """A line per answer, or a table of answers."""
    from atlas_hf.cli.many_rows import answer_rows, read_rows
    from atlas_hf.cli.stream_tasks import learned_folder
    from atlas_hf.folder import Index, read_spec
    from atlas_hf.model import AtlasModel

    folder = learned_folder(options.model, options.revision, [options.task])
    if options.input:  # read before the backbone is loaded
        Index.load(folder).closure([options.task])
        rows = read_rows(read_spec(folder / options.task), options.input, options.output)
    model = AtlasModel.from_pretrained(options.model, revision=options.revision, tasks=[options.task])
    if options.input:
        answer_rows(model, options.task, rows, options.input.parent, options.output)
        if options.output:
            print(f"{len(rows)} answers written to {options.output}")
        return
    images, texts = (tuple(value) if value else None for value in (options.images, options.text))
    for answer in model.predict(options.task, images, texts, options.choices, top_k=options.top_k):
        print(f"{answer['score']:.4f}  {answer['label']}")
