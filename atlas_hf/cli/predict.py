"""`atlas-hf predict`."""

from argparse import Namespace

from atlas_hf.cli.commands import command_parser

HELP = """Example:
  atlas-hf predict runs/digits --task vqa --images scene.png --text "what digit is at the top left ?"
  atlas-hf predict runs/digits --task text-choice --text "which is larger ?" --choices seven three"""
parser = command_parser("predict", HELP)
parser.add_argument("model", help="folder or Hub repository")
parser.add_argument("--task", required=True)
parser.add_argument("--images", nargs="+", help="one image file, or two for a task about pairs")
parser.add_argument("--text", nargs="+", help="one text, or one per text column")
parser.add_argument("--choices", nargs="+")
parser.add_argument("--top-k", type=int, default=5)
parser.add_argument("--revision", help="commit, branch or tag, for a repository")
parse = parser.parse_args


def run(options: Namespace) -> None:
    """A line per answer."""
    from atlas_hf.cli.stream_tasks import learned_folder
    from atlas_hf.model import AtlasModel

    learned_folder(options.model, options.revision, [options.task])
    model = AtlasModel.from_pretrained(options.model, revision=options.revision, tasks=[options.task])
    images, texts = (tuple(value) if value else None for value in (options.images, options.text))
    for answer in model.predict(options.task, images, texts, options.choices, top_k=options.top_k):
        print(f"{answer['score']:.4f}  {answer['label']}")
