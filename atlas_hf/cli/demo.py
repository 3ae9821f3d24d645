"""`atlas-hf demo`."""

from argparse import Namespace
from contextlib import closing

from atlas_hf.cli.commands import command_parser
from atlas_hf.demo import DIGITS_MODEL_ID, check_gradio
from atlas_hf.demo.waiting import WaitingPage

HELP = """Example:
  atlas-hf demo                                (the model that comes with the package; no network)
  atlas-hf demo runs/digits
  atlas-hf demo me/digits-atlas --revision task-04-vqa

Needs gradio: pip install 'atlas_hf[demo]'"""
parser = command_parser("demo", HELP)
parser.add_argument("model", nargs="?", default=DIGITS_MODEL_ID, help="folder or Hub repository")
parser.add_argument("--revision", help="commit, branch or tag, for a repository")
parser.add_argument("--host", help="by default 127.0.0.1, which only this machine can reach")
parser.add_argument("--port", type=int, help="by default the first free one from 7860")


def parse(argv: list[str]) -> Namespace:
    """The options, and the page that waits, which is there before anything is imported."""
    options = parser.parse_args(argv)
    check_gradio()
    options.page = WaitingPage(options.host, options.port)
    return options


def run(options: Namespace) -> None:
    """The demo, at the address of the page, until the process is stopped."""
    from atlas_hf.demo import launch

    with closing(options.page) as page:
        launch(options.model, options.revision, host=page.host, port=page.port, before=page.close)
