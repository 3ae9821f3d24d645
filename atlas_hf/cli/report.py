"""`atlas-hf report`; `atlas-hf benchmark` ends with it."""

from argparse import Namespace
from pathlib import Path

from atlas_hf.cli.commands import command_parser

HELP = """Example:
  atlas-hf report runs/benchmark
  atlas-hf report runs/benchmark --push-to me/digits-benchmark"""
parser = command_parser("report", HELP)
parser.add_argument("output", type=Path, help="folder of a benchmark")
parser.add_argument("--push-to", metavar="REPO", help="push the results to this data set repository")
parse = parser.parse_args


def run(options: Namespace) -> None:
    """Write the report of the folder `options.output`, and push it if `options.push_to` says where to."""
    from atlas_hf.benchmark.learning import push, read_cells, write_report

    print(f"Written to {write_report(options.output)}")
    if options.push_to:
        print(f"Pushed to {push(read_cells(options.output), options.push_to)}")
