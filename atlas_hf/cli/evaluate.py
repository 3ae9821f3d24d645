"""`atlas-hf evaluate`."""

from argparse import Namespace

from atlas_hf.cli.commands import command_parser

HELP = """Example:
  atlas-hf evaluate runs/digits --tasks vqa entailment
  atlas-hf evaluate runs/mine --sources tweets=tweets.csv"""
parser = command_parser("evaluate", HELP)
parser.add_argument("model", help="folder or Hub repository")
parser.add_argument("--tasks", nargs="+", help="by default all")
parser.add_argument("--revision", help="commit, branch or tag, for a repository")
parser.add_argument("--sources", nargs="+", metavar="TASK=PLACE", help="where the data are, if not where they were")
parse = parser.parse_args


def run(options: Namespace) -> None:
    """A line per task."""
    from atlas_hf.cli.stream_tasks import learned_folder, scored_on
    from atlas_hf.folder import Results
    from atlas_hf.model import AtlasModel
    from atlas_hf.training import AtlasTrainingArguments, evaluate_task

    folder = learned_folder(options.model, options.revision)
    model = AtlasModel.from_pretrained(options.model, revision=options.revision, tasks=options.tasks)
    results = Results.load(folder)
    args = AtlasTrainingArguments(output_dir=".", report_to="none")
    for name in options.tasks or model.tasks:
        spec, data = scored_on(folder, results, name, options.sources)
        metrics = evaluate_task(model, name, data, args)
        print(f"{name}: {spec.metric} {metrics[spec.metric]:.4f}  loss {metrics['loss']:.4f}", flush=True)
