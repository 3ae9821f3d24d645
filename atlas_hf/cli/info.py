"""`atlas-hf info`."""

import json
from argparse import Namespace

from atlas_hf.cli.commands import command_parser

HELP = """Example:
  atlas-hf info runs/digits"""
parser = command_parser("info", HELP)
parser.add_argument("model", help="folder or Hub repository")
parser.add_argument("--revision", help="commit, branch or tag, for a repository")
parser.add_argument("--json", action="store_true", help="atlas.json and results.json as one JSON object")
parse = parser.parse_args


def run(options: Namespace) -> None:
    """As text, or as JSON."""
    from atlas_hf.cli.stream_tasks import learned_folder
    from atlas_hf.folder import INDEX, RESULTS, Index, Results, read_json
    from atlas_hf.report.text import format_info

    folder = learned_folder(options.model, options.revision)
    index, checked = Index.load(folder), Results.load(folder)
    if options.json:
        results = read_json(folder / RESULTS) if (folder / RESULTS).exists() else None
        print(json.dumps({"index": read_json(folder / INDEX), "results": results}, indent=2, ensure_ascii=False))
    else:
        print(format_info(index, checked))
